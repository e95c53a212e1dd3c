"""The grammar of --source_loras: every example of the documentation, every rule, every refusal."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphs.adapters.addresses import is_plain_path, url_file_name
from graphs.adapters.lora_source import LoraSource
from graphs.adapters.sources import CompositeSource, SourceLoras, mode_for, parse_source_loras
from graphs.definition.graph import LoraMode
from graphs.errors import GraphError

XRAY, XRAY_FILE = "DoctorDiffusion/doctor-diffusion-s-xray-xl-lora", "DD-xray-v1.safetensors"
UKIYO, UKIYO_FILE = "KappaNeuro/ukiyo-e-art", "Ukiyo-e Art.safetensors"
VECTOR, VECTOR_FILE = "DoctorDiffusion/doctor-diffusion-s-controllable-vector-art-xl-lora", "DD-vector-v2.safetensors"
CIVITAI = "https://civitai.com/api/download/models/12345"
POKEMON = "juliensimon/sd-pokemon-lora"


def hub(alias: str, repository: str, file: str | None = None, alpha: float | None = None) -> LoraSource:
    return LoraSource(alias, "hugging_face", repository, file, alpha)


def local(alias: str, path: str, alpha: float | None = None) -> LoraSource:
    return LoraSource(alias, "local", path, alpha=alpha)


def url(alias: str, address: str, alpha: float | None = None) -> LoraSource:
    return LoraSource(alias, "url", address, alpha=alpha)


# Word for word what follows --source_loras= in OVMS's documentation.
DOCUMENTED: dict[str, SourceLoras] = {
    f"pokemon={POKEMON}": SourceLoras((hub("pokemon", POKEMON),)),
    f"xray={XRAY}@{XRAY_FILE}": SourceLoras((hub("xray", XRAY, XRAY_FILE),)),
    "style=https://huggingface.co/user/repo/resolve/main/model.safetensors": SourceLoras(
        (url("style", "https://huggingface.co/user/repo/resolve/main/model.safetensors"),)
    ),
    "custom=/models/loras/my_style.safetensors": SourceLoras((local("custom", "/models/loras/my_style.safetensors"),)),
    "custom=C:\\models\\loras\\my_style.safetensors": SourceLoras(
        (local("custom", "C:\\models\\loras\\my_style.safetensors"),)
    ),
    "custom=./loras/my_style.safetensors": SourceLoras((local("custom", "./loras/my_style.safetensors"),)),
    "pokemon=/models/loras/pokemon.safetensors:0.6": SourceLoras(
        (local("pokemon", "/models/loras/pokemon.safetensors", 0.6),)
    ),
    "pokemon=C:\\models\\loras\\pokemon.safetensors:0.75": SourceLoras(
        (local("pokemon", "C:\\models\\loras\\pokemon.safetensors", 0.75),)
    ),
    f"pokemon={POKEMON}:0.8": SourceLoras((hub("pokemon", POKEMON, alpha=0.8),)),
    "pokemon=org/repo:0.8": SourceLoras((hub("pokemon", "org/repo", alpha=0.8),)),
    f"xray={XRAY}@{XRAY_FILE},ukiyo={UKIYO}@{UKIYO_FILE},vector={VECTOR}@{VECTOR_FILE}": SourceLoras(
        (hub("xray", XRAY, XRAY_FILE), hub("ukiyo", UKIYO, UKIYO_FILE), hub("vector", VECTOR, VECTOR_FILE))
    ),
    f"pokemon={POKEMON},anime=user/anime-lora,mix=@pokemon:0.7+@anime:0.5": SourceLoras(
        (hub("pokemon", POKEMON), hub("anime", "user/anime-lora")),
        (CompositeSource("mix", (("pokemon", 0.7), ("anime", 0.5))),),
    ),
    f"xray={XRAY}@{XRAY_FILE},ukiyo={UKIYO}@{UKIYO_FILE},blend=@xray:0.5+@ukiyo:0.4": SourceLoras(
        (hub("xray", XRAY, XRAY_FILE), hub("ukiyo", UKIYO, UKIYO_FILE)),
        (CompositeSource("blend", (("xray", 0.5), ("ukiyo", 0.4))),),
    ),
}


@pytest.mark.parametrize("text", DOCUMENTED)
def test_the_documented_examples(text: str) -> None:
    assert parse_source_loras(text) == DOCUMENTED[text]
    assert str(parse_source_loras(text)) == text


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        # Colons that are no alphas: of the scheme, of a port, of a drive, in a path.
        ("https://host/x.safetensors", url("a", "https://host/x.safetensors")),
        ("http://host:8080/x.safetensors", url("a", "http://host:8080/x.safetensors")),
        ("http://host:8080/x.safetensors:0.5", url("a", "http://host:8080/x.safetensors", 0.5)),
        ("http://[::1]:8080/x.safetensors:1", url("a", "http://[::1]:8080/x.safetensors", 1.0)),
        ("HTTPS://host/X.SafeTensors", url("a", "HTTPS://host/X.SafeTensors")),
        ("https://host/a=b@c+d%2C.safetensors", url("a", "https://host/a=b@c+d%2C.safetensors")),
        ("C:/models/x.safetensors", local("a", "C:/models/x.safetensors")),
        ("c:\\x.safetensors:0.5", local("a", "c:\\x.safetensors", 0.5)),
        (".\\loras\\x.safetensors", local("a", ".\\loras\\x.safetensors")),
        ("./../x.safetensors:2", local("a", "./../x.safetensors", 2.0)),
        ("/m/12:30.safetensors", local("a", "/m/12:30.safetensors")),
        ("/m/a.safetensors:b.safetensors:.5", local("a", "/m/a.safetensors:b.safetensors", 0.5)),
        ("/m/k=v @+.safetensors", local("a", "/m/k=v @+.safetensors")),
        # Hugging Face.
        ("org/repo@File Name.safetensors:0.8", hub("a", "org/repo", "File Name.safetensors", 0.8)),
        ("org/repo@sub/x@2.safetensors", hub("a", "org/repo", "sub/x@2.safetensors")),
        ("O_r.g-1/re.po_2", hub("a", "O_r.g-1/re.po_2")),
        # Numbers.
        ("org/repo:-0.5", hub("a", "org/repo", alpha=-0.5)),
        ("org/repo:+1e-3", hub("a", "org/repo", alpha=0.001)),
        ("org/repo:1E2", hub("a", "org/repo", alpha=100.0)),
        ("org/repo:1.", hub("a", "org/repo", alpha=1.0)),
        ("org/repo:0", hub("a", "org/repo", alpha=0.0)),
        # Percent-encoding: decoded where a name is meant, left alone in a URL and in a path.
        ("org/repo@Ukiyo-e%20Art.safetensors", hub("a", "org/repo", "Ukiyo-e Art.safetensors")),
        ("org/repo@a%2Cb%25.safetensors", hub("a", "org/repo", "a,b%.safetensors")),
        ("org/repo@100%.safetensors", hub("a", "org/repo", "100%.safetensors")),
        ("https://h/a%20b c.safetensors", url("a", "https://h/a%20b c.safetensors")),
        ("/m/a%20b.safetensors", local("a", "/m/a%20b.safetensors")),
        ("file:///m/a%20b.safetensors:0.5", local("a", "/m/a b.safetensors", 0.5)),
        ("FILE://localhost/m/a b.safetensors", local("a", "/m/a b.safetensors")),
        ("file:/m/x.safetensors", local("a", "/m/x.safetensors")),
        ("file:///C:/m/x.safetensors", local("a", "C:/m/x.safetensors")),
        # Commas, and other characters that have a meaning elsewhere.
        ("/m/a, b@c+d.safetensors", local("a", "/m/a, b@c+d.safetensors")),
        ("./a,b,c d=e.safetensors:1", local("a", "./a,b,c d=e.safetensors", 1.0)),
        ("org/repo@a, b@2.safetensors:0.8", hub("a", "org/repo", "a, b@2.safetensors", 0.8)),
        ("https://h/a, b@c;d.safetensors", url("a", "https://h/a, b@c;d.safetensors")),
        ("file:///m/a%2Cb=c;d.safetensors", local("a", "/m/a,b=c;d.safetensors")),
        ("/m/x;b=c.safetensors", local("a", "/m/x;b=c.safetensors")),
        # Queries, and alphas behind them.
        ("https://h/x.safetensors?download=true", url("a", "https://h/x.safetensors?download=true")),
        ("https://h/x.safetensors?download=true:0.8", url("a", "https://h/x.safetensors?download=true", 0.8)),
        ("https://h:8443/x.safetensors?t=1:b", url("a", "https://h:8443/x.safetensors?t=1:b")),
        ("https://h/x.safetensors?t=1:2:.5", url("a", "https://h/x.safetensors?t=1%3A2", 0.5)),
        ("https://h/x.safetensors?token=s", url("a", "https://h/x.safetensors?token=s")),
        ("http://[::1]:8080/x.safetensors?a:0.5", url("a", "http://[::1]:8080/x.safetensors?a", 0.5)),
        # Civitai.
        (CIVITAI, url("a", CIVITAI)),
        (f"{CIVITAI}:0.8", url("a", CIVITAI, 0.8)),
        (f"{CIVITAI}?type=Model&format=SafeTensor", url("a", f"{CIVITAI}?type=Model&format=SafeTensor")),
        (f"{CIVITAI}?type=Model:0.8", url("a", f"{CIVITAI}?type=Model", 0.8)),
        ("http://[::1]:80/api/download/models/5", url("a", "http://[::1]:80/api/download/models/5")),
        ("https://civitai.com/models/9/ink-style?modelVersionId=12345:0.8", url("a", CIVITAI, 0.8)),
        # Pages of repositories on Hugging Face.
        ("https://huggingface.co/org/repo", hub("a", "org/repo")),
        ("https://hf.co/org/repo/:0.8", hub("a", "org/repo", alpha=0.8)),
        ("https://huggingface.co/org/repo/tree/main", hub("a", "org/repo")),
        # Spaces around the parts.
        ("  org/repo @ x.safetensors : 0.5  ", hub("a", "org/repo", "x.safetensors", 0.5)),
        (" ./x.safetensors : 0.5 ", local("a", "./x.safetensors", 0.5)),
    ],
)
def test_sources(source: str, expected: LoraSource) -> None:
    parsed = parse_source_loras(f"a={source}")
    assert parsed == SourceLoras((expected,))
    assert parse_source_loras(str(parsed)) == parsed
    assert parse_source_loras(f"a={parsed.adapters[0].source}") == SourceLoras((replace(expected, alpha=None),))
    assert parse_source_loras(f"z=o/z,a={source},b=o/b").adapters[1] == expected


@pytest.mark.parametrize(
    "url",
    [
        "https://me:hush@host/x.safetensors",
        "https://civitai.com/api/download/models/5?type=Model&token=hush",
        "https://host/x.bin?X-Amz-Credential=hush&X-Amz-Signature=hush",
        "https://host/x?api_key=hush",
    ],
)
def test_a_refusal_does_not_repeat_secrets(url: str) -> None:
    with pytest.raises(GraphError) as refused:
        parse_source_loras(f"a={url}")
    assert "hush" not in str(refused.value) and "***" in str(refused.value)


@pytest.mark.parametrize(
    ("composite", "components"),
    [
        ("@a", (("a", None),)),
        ("@a+@b", (("a", None), ("b", None))),
        ("@a:-0.5+@b:1e-2", (("a", -0.5), ("b", 0.01))),
        ("@a:1e+2+@b:+.5", (("a", 100.0), ("b", 0.5))),
        (" @a : 0.7 + @b : 0.5 ", (("a", 0.7), ("b", 0.5))),
    ],
)
def test_composites(composite: str, components: tuple[tuple[str, float | None], ...]) -> None:
    parsed = parse_source_loras(f" mix = {composite} , a=o/a, b=o/b")  # before what it refers to, too
    assert parsed.composites == (CompositeSource("mix", components),)
    assert [adapter.alias for adapter in parsed.adapters] == ["a", "b"]


@pytest.mark.parametrize("text", ["a=o/r:0.5,m=@a", "a=o/r:0.5,m=@a:1", "a=o/r:1.0,m=@a:0.5", "a=o/r,m=@a:0.5"])
def test_an_alpha_at_one_level(text: str) -> None:
    found = parse_source_loras(text)
    assert found.adapters and found.composites


@pytest.mark.parametrize(
    ("text", "entry", "part"),
    [
        ("", 1, "is empty"),
        ("  ", 1, "is empty"),
        ("a=o/r,", 2, "is empty"),
        ("a=o/r,,b=o/r", 2, "is empty"),
        ("a", 1, "not of the form alias=source"),
        ("a=o/r,my style=o/s", 1, "a comma begins the next entry only where alias= follows it"),
        ("a=./x.safetensors,y", 1, "a comma begins the next entry only where alias= follows it"),
        ("a=https://h/x.safetensors,y", 1, "a comma begins the next entry only where alias= follows it"),
        ("a=./x, b=y.safetensors", 1, "must end in .safetensors"),
        ("a=./x, b=y.safetensors", 1, "a comma begins the next entry"),
        *(
            (f"a={first};b=o/s", 1, "entries are separated by commas, not by ';'")
            for first in ("o/r", "o/r:0.5", "o/r@x.safetensors", "/x.safetensors", "https://h/x.safetensors:1 ")
        ),
        ("a=o/r,m=@a:0.5;n=@a", 2, "entries are separated by commas, not by ';'"),
        ("=o/r", 1, "'' cannot be an alias"),
        ("my style=o/r", 1, "'my style' cannot be an alias"),
        ("ä=o/r", 1, "cannot be an alias"),
        ("a/b=o/r", 1, "cannot be an alias"),
        ("..=o/r", 1, "cannot be an alias"),
        ("a=", 1, "source after '=' is missing"),
        ("a=o/r,a=o/s", 2, "already used"),
        ("a=o/r,a=@a", 2, "already used"),
        ("a=o/r\nx", 1, "control character"),
        # Alphas.
        ("a=o/r:", 1, "'' is not an alpha"),
        ("a=o/r:x", 1, "'x' is not an alpha"),
        *((f"a=o/r:{number}", 1, "is not an alpha") for number in ("nan", "inf", "-inf", "1e999", "0x1", "1_0")),
        ("a=o/r:0.5:0.5", 1, "is not an alpha"),
        ("a=./x.safetensors:", 1, "is not an alpha"),
        ("a=./x.safetensors:strong", 1, "is not an alpha"),
        ("a=https://h:80/x.safetensors:٣", 1, "is not an alpha"),
        # Hugging Face.
        *((f"a={name}", 1, "not a Hugging Face repository") for name in ("repo", "o/r/x", "o/", "/r"[1:], "o//r")),
        *((f"a={name}", 1, "not a Hugging Face repository") for name in ("o/..", "o/a--b", "-o/r", "o/r.", "o/ü")),
        ("a=loras/x/y.safetensors", 1, "./"),
        ("a=../x.safetensors", 1, "./"),
        ("a=~/x.safetensors", 1, "./"),
        ("a=ftp://host/x.safetensors", 1, "ftp:// is not an address that can be downloaded here; give an https://"),
        ("a=s3://bucket/x.safetensors:0.5", 1, "give the object's https:// address (a presigned one works)"),
        ("a=gs://bucket/x.safetensors", 1, "https://storage.googleapis.com/..."),
        ("a=hf://org/repo/x.safetensors", 1, "write org/repo@file.safetensors."),
        ("a=magnet+x://y", 1, "magnet+x:// is not an address"),
        ("a=huggingface.co/org/repo", 1, "write https:// in front of 'huggingface.co/org/repo'."),
        ("a=civitai.com/api/download/models/1", 1, "write https:// in front"),
        ("a=C:x.safetensors", 1, "is not an alpha"),
        ("a=o/r@", 1, "must end in .safetensors"),
        ("a=o/r@x.bin", 1, "must end in .safetensors"),
        ("a=o/r@x.bin:0.5", 1, "must end in .safetensors"),
        ("a=o/r@../x.safetensors", 1, "cannot be a file of a repository"),
        ("a=o/r@/x.safetensors", 1, "cannot be a file of a repository"),
        ("a=o/r@x\\y.safetensors", 1, "cannot be a file of a repository"),
        # URLs and paths.
        ("a=https://host/x.bin", 1, "must end in .safetensors"),
        ("a=https://host", 1, "must end in .safetensors"),
        ("a=https://host/x?f=y.safetensors", 1, "the path of the URL, before its '?', must end in .safetensors."),
        ("a=https://host/x#y.safetensors", 1, "leave out what begins with '#'"),
        ("a=https://host/x.safetensors?a=1:1e999", 1, "'1e999' is not an alpha"),
        ("a=https://host/api/download/models/5:x", 1, "'x' is not an alpha"),
        ("a=https://host/api/download/models/5?token=s", 1, "leave it out, and set CIVITAI_TOKEN to it."),
        ("a=https://host/models/5/name", 1, "this page of a model names none of its versions"),
        ("a=https://host/models/5?modelVersionId=x", 1, "this page of a model names none of its versions"),
        ("a=https://huggingface.co/o/a--b", 1, "not a Hugging Face repository"),
        ("a=file://host/x.safetensors", 1, "names a file of this machine, and 'host' is another one"),
        ("a=file:///x.bin", 1, "must end in .safetensors"),
        ("a=file:///x?y.safetensors", 1, "write '?' as %3F"),
        ("a=file:///x%ff.safetensors", 1, "write % itself as %25"),
        ("a=file:///x%0A.safetensors", 1, "control character"),
        ("a=o/r@x%ff.safetensors", 1, "write % itself as %25"),
        ("a=o/r@x%00.safetensors", 1, "control character"),
        ("a=o/r@..%2Fx.safetensors", 1, "cannot be a file of a repository"),
        ("a=https:///x.safetensors", 1, "names no server"),
        ("a=https://host:99999/x.safetensors", 1, "not a URL"),
        ("a=https://[host/x.safetensors", 1, "not a URL"),
        ("a=https://me:secret@host/x.safetensors", 1, "password"),
        ("a=https://host/.safetensors", 1, "names no file"),
        ("a=https://host/..%2Fx.safetensors", 1, "names no file"),
        ("a=https://host/x%2Fy.safetensors", 1, "names no file"),
        ("a=https://host/x%5Cy.safetensors", 1, "names no file"),
        ("a=/models/x.bin", 1, "must end in .safetensors"),
        ("a=./x:0.5", 1, "must end in .safetensors"),
        # Composites.
        ("a=o/r,m=@", 2, "not a component"),
        ("a=o/r,m=@a+", 2, "not a component"),
        ("a=o/r,m=@a++@a", 2, "not a component"),
        ("a=o/r,b=o/s,m=@a+b", 3, "not a component"),
        ("a=o/r,b=o/s,m=@a:1+b:1", 3, "is not an alpha"),
        ("a=o/r,m=@a:", 2, "is not an alpha"),
        ("a=o/r,m=@a:nan", 2, "is not an alpha"),
        ("a=o/r,m=@a+@a", 2, "twice"),
        ("a=o/r,m=@a+@b", 2, "there is no adapter 'b' (a)"),
        ("m=@a", 1, "none is defined"),
        ("a=o/r,m=@a,n=@m", 3, "'m' is a composite"),
        ("a=o/r,m=@m", 2, "'m' is a composite"),
        ("a=o/r:0.5,m=@a:0.7", 2, "written twice"),
    ],
)
def test_refusals_name_the_entry(text: str, entry: int, part: str) -> None:
    with pytest.raises(GraphError) as refused:
        parse_source_loras(text)
    assert refused.value.field == "source_loras"
    assert str(refused.value).startswith(f"source_loras: entry {entry}")
    assert part in str(refused.value)


aliases = st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,8}", fullmatch=True)
alphas = st.none() | st.floats(allow_nan=False, allow_infinity=False)
names = st.text(st.characters(exclude_characters="/\\:@", exclude_categories=["C", "Z"]), min_size=1, max_size=8)
# With what separates entries, and with what looks like an encoding.
troubling = st.builds(
    "{}{}{}".format, names, st.sampled_from([", b=", ",b = ", ".safetensors;b=", "%20", "%ff", " "]), names
)
files = (names | troubling).map(lambda name: f"{name}.safetensors")
parts = st.from_regex(r"[a-z0-9]([a-z0-9_]{0,5}[a-z0-9])?", fullmatch=True)
repositories = st.builds("{}/{}".format, parts, parts)
absolute = st.builds("{}{}".format, st.sampled_from(["/", "C:\\", "d:/", "/a b/c:0.5/"]), files)
# A relative path has no second form, so one that contains what separates entries cannot be written.
relative = st.builds("{}{}.safetensors".format, st.sampled_from(["./", ".\\"]), names)
paths = absolute | relative
urls = st.builds("http{}://h{}/{}".format, st.sampled_from(["", "s"]), st.sampled_from(["", ":80"]), parts).map(
    lambda start: f"{start}.safetensors"
) | st.builds("https://h/api/download/models/{}{}".format, st.integers(0, 10**9), st.sampled_from(["", "?type=Model"]))


@st.composite
def source_loras(draw: st.DrawFn) -> SourceLoras:
    chosen = draw(st.lists(aliases, min_size=1, max_size=6, unique=True))
    adapters = [draw(sources(alias)) for alias in chosen[:4]]
    composites = []
    for alias in chosen[4:]:
        used = draw(st.lists(st.sampled_from(adapters), min_size=1, unique_by=lambda adapter: adapter.alias))
        free = [(a.alias, draw(alphas) if a.alpha in (None, 1.0) else None) for a in used]
        composites.append(CompositeSource(alias, tuple(free)))
    return SourceLoras(tuple(adapters), tuple(composites))


def sources(alias: str) -> st.SearchStrategy[LoraSource]:
    return st.one_of(
        st.builds(hub, st.just(alias), repositories, st.none() | files, alphas),
        st.builds(local, st.just(alias), paths, alphas),
        st.builds(url, st.just(alias), urls, alphas),
    )


@pytest.mark.usefixtures("long_computation")
@given(source_loras())
def test_what_is_written_reads_back(sources: SourceLoras) -> None:
    assert parse_source_loras(str(sources)) == sources


@given(st.text() | st.text(st.sampled_from("ab=@:+,./\\ 0.5e-")))
def test_anything_is_read_or_refused(text: str) -> None:
    try:
        parsed = parse_source_loras(text)
    except GraphError as error:
        assert error.field == "source_loras"
    else:
        assert parse_source_loras(str(parsed)) == parsed


@pytest.mark.parametrize(
    ("device", "mode"),
    [
        (("CPU",), LoraMode.DYNAMIC),
        (("GPU.1",), LoraMode.DYNAMIC),
        (("NPU",), LoraMode.STATIC),
        (("NPU.0",), LoraMode.STATIC),
        (("HETERO:NPU,CPU",), LoraMode.STATIC),
        (("CPU", "GPU", "NPU"), LoraMode.STATIC),
        (("CPU", "GPU", "CPU"), LoraMode.DYNAMIC),
    ],
)
def test_the_mode_is_that_of_the_device(device: tuple[str, ...], mode: LoraMode) -> None:
    assert mode_for(device) is mode


def test_names_of_files() -> None:
    assert url_file_name("https://host/a/Ukiyo-e%20Art.safetensors") == "Ukiyo-e Art.safetensors"
    assert is_plain_path("sub/Ukiyo-e Art.safetensors")
    assert not any(map(is_plain_path, ["", "../x", "/x", "a//b", "a/./b", "a\\b", "C:x"]))
