// What docs/clients.md shows of Java's own HTTP client, and what an application sees of it; prints a line for each step.

// recipe begins
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.regex.Pattern;
// recipe ends
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

// The first class of the file is the one that `java Client.java` runs.
class Steps {
    public static void main(String[] arguments) throws Exception {
        PrintStream terminal = System.out;
        var printed = new ByteArrayOutputStream();
        System.setOut(new PrintStream(printed));
        Client.main(arguments);
        System.setOut(terminal);
        String output = printed.toString();
        System.out.println("version: java.net.http of Java " + System.getProperty("java.version"));
        check(width("circle-0.png") == 128, "generate: one PNG");
        check(width("stars-0.png") == 256 && width("stars-1.png") == 256, "n = 2: two PNGs");
        check(width("stars-0.png") == 256, "size: 256x256");
        check(width("edited-0.png") == 128, "edit: one PNG");
        check(width("repainted-0.png") == 128, "mask: one PNG");
        check(output.contains("\"id\":\"demo\""), "list: demo, its adapters and its aliases");
        check(output.contains("event: image_generation.partial_image"), "stream: previews");
        check(output.contains("event: image_generation.completed"), "stream: and the image");
        var refused = Client.HTTP.send(
            Client.post("/images/generations", "{\"prompt\": \"a star\", \"size\": \"100x100\"}"), BodyHandlers.ofString());
        var sentence = Pattern.compile("\"message\":\"([^\"]+)\"").matcher(refused.body());
        check(refused.statusCode() == 400 && sentence.find(), "error: " + sentence.group(1));
        var waiting = Client.HTTP.sendAsync(
            Client.post("/images/generations", "{\"prompt\": \"CANCELLED\", \"size\": \"1024x1024\"}"),
            BodyHandlers.ofString());
        try {
            waiting.get(1500, TimeUnit.MILLISECONDS);
        } catch (TimeoutException stillDrawn) {
            check(waiting.cancel(true), "cancel: the request is cancelled after 1.5 s");
        }
        System.exit(0);
    }

    static int width(String file) throws Exception {
        byte[] image = Files.readAllBytes(Path.of(file));
        if (image[1] != 'P' || image[2] != 'N' || image[3] != 'G') throw new AssertionError(file + " is no PNG");
        return (image[18] & 255) * 256 + (image[19] & 255);
    }

    static void check(boolean holds, String step) {
        if (!holds) throw new AssertionError(step);
        System.out.println(step);
    }
}

// recipe begins

public class Client {
    static final String URL = "http://127.0.0.1:8000/v1";
    static final HttpClient HTTP = HttpClient.newHttpClient();

    static HttpRequest post(String path, String json) {
        return HttpRequest.newBuilder(URI.create(URL + path)).header("Content-Type", "application/json")
            .POST(HttpRequest.BodyPublishers.ofString(json)).build();
    }

    static void save(String name, String path, String json) throws Exception {
        String answer = HTTP.send(post(path, json), BodyHandlers.ofString()).body();
        List<String> images = new ArrayList<>();
        Pattern.compile("\"b64_json\":\"([^\"]+)\"").matcher(answer).results().forEach(found -> images.add(found.group(1)));
        if (images.isEmpty()) throw new IllegalStateException(answer);
        for (int i = 0; i < images.size(); i++) {
            Files.write(Path.of(name + "-" + i + ".png"), Base64.getDecoder().decode(images.get(i)));
        }
    }

    static String dataUrl(String file) throws Exception {
        return "data:image/png;base64," + Base64.getEncoder().encodeToString(Files.readAllBytes(Path.of(file)));
    }

    public static void main(String[] arguments) throws Exception {
        save("circle", "/images/generations", "{\"prompt\": \"a red circle on a blue background\"}");

        save("stars", "/images/generations", "{\"prompt\": \"a yellow star\", \"n\": 2, \"size\": \"256x256\"}");

        save("edited", "/images/edits", "{\"prompt\": \"a red star on a blue background\", \"strength\": 0.7,"
            + "\"image\": \"" + dataUrl("circle-0.png") + "\"}");

        save("repainted", "/images/edits", "{\"prompt\": \"a green square on a blue background\","
            + "\"image\": \"" + dataUrl("circle-0.png") + "\", \"mask\": \"" + dataUrl("mask.png") + "\"}");

        HttpRequest models = HttpRequest.newBuilder(URI.create(URL + "/models")).build();
        System.out.println(HTTP.send(models, BodyHandlers.ofString()).body());

        HttpRequest stream = post("/images/generations",
            "{\"prompt\": \"a white heart\", \"stream\": true, \"partial_images\": 2}");
        HTTP.send(stream, BodyHandlers.ofLines()).body().forEach(System.out::println);
    }
}
// recipe ends
