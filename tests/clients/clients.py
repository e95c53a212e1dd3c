"""The clients that are run, each with the environment it is installed in, its script, and what it cannot do itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field

# What is shown of each client, in this order.
STEPS = ("generate", "n = 2", "size", "edit", "mask", "list", "error", "stream", "cancel")

_NO_LIST = "It has no call that lists models."


@dataclass(frozen=True)
class Client:
    """A client: its script, its environment (empty where the machine has it), and why it leaves steps out."""

    name: str
    script: str
    environment: str = ""
    cannot: Mapping[str, str] = field(default_factory=dict)

    @property
    def steps(self) -> tuple[str, ...]:
        """Return the steps that its script shows."""
        return tuple(step for step in STEPS if step not in self.cannot)


_LITELLM_STREAM = "LiteLLM's image functions have no stream."
CLIENTS = (
    Client("openai-python 1", "openai_python.py", ".venv-openai-1"),
    Client("openai-python 2", "openai_python.py", ".venv-openai-2"),
    Client("openai-python 3", "openai_python.py", ".venv-client-openai-3"),
    Client("openai-node", "openai_node.mjs", ".venv-client-node"),
    Client(
        "Vercel AI SDK",
        "ai_sdk.mjs",
        ".venv-client-node",
        {"list": _NO_LIST, "stream": "`generateImage` has no stream."},
    ),
    Client("LiteLLM SDK", "litellm_sdk.py", ".venv-client-litellm", {"stream": _LITELLM_STREAM}),
    Client(
        "LiteLLM proxy",
        "litellm_proxy.py",
        ".venv-client-litellm-proxy",
        {
            "stream": _LITELLM_STREAM,
            "cancel": "The proxy goes on with its own request when its client leaves; `Cancel-After` bounds the job.",
        },
    ),
    Client(
        "LangChain",
        "langchain_dalle.py",
        ".venv-client-langchain",
        {
            "edit": "`DallEAPIWrapper` only generates.",
            "mask": "`DallEAPIWrapper` only generates.",
            "list": _NO_LIST,
            "stream": "It has no stream.",
            "cancel": "Its tool waits in a thread that nothing stops; `timeout` bounds it.",
        },
    ),
    Client(
        "gpt-image-mcp",
        "gpt_image_mcp.py",
        ".venv-client-gpt-image-mcp",
        {
            "n = 2": "Its tool draws one image; `generate_batch` sends a request for each.",
            "size": "It takes a size and does not send it.",
            "mask": "Its tool has no mask.",
            "list": _NO_LIST,
            "error": "It tries other requests in place of one that failed, and does not show the sentence.",
            "stream": "It has no stream.",
        },
    ),
    Client(
        "image-generation-mcp",
        "image_generation_mcp.py",
        ".venv-client-image-generation-mcp",
        {
            "n = 2": "Its tool draws one image.",
            "size": "It asks for 1024x1024, 1536x1024 or 1024x1536, by its `aspect_ratio`.",
            "list": "Its list of models is its own.",
            "stream": "It has no stream.",
            "cancel": "Its tools answer before the image is drawn, and go on by themselves.",
        },
    ),
    Client("Java", "Client.java"),
    Client("curl", "curl.sh"),
)
OPEN_WEBUI = Client(
    "Open WebUI",
    "open_webui.py",
    ".venv-client-open-webui",
    {
        "mask": "Its edits have no mask.",
        "list": "Its list of models is its own.",
        "error": "It shows the words of the status (`Bad Request`) and not the sentence.",
        "stream": "It has no stream of images.",
        "cancel": "It goes on with its own request when the browser leaves; `Cancel-After` cannot be set in it.",
    },
)
EVERY_CLIENT = (*CLIENTS, OPEN_WEBUI)
