import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.List;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;

/** A TCP proxy on 127.0.0.1 whose connections can be cut and allowed again, for the findings about reconnecting. */
final class Proxy {
    final int port;
    /** Connections let through so far. */
    final AtomicInteger accepted = new AtomicInteger();
    private final Set<Socket> sockets = ConcurrentHashMap.newKeySet();
    private volatile boolean open = true;

    Proxy(int target) throws IOException {
        ServerSocket listener = new ServerSocket(0, 16, InetAddress.getByName("127.0.0.1"));
        port = listener.getLocalPort();
        daemon(() -> {
            while (true) {
                Socket client = listener.accept();
                if (!open) {
                    client.close();
                    continue;
                }
                accepted.incrementAndGet();
                Socket server = new Socket("127.0.0.1", target);
                sockets.addAll(List.of(client, server));
                daemon(() -> client.getInputStream().transferTo(server.getOutputStream()));
                daemon(() -> server.getInputStream().transferTo(client.getOutputStream()));
            }
        });
    }

    /** Breaks all connections, and refuses new ones until `heal`. */
    void cut() throws IOException {
        open = false;
        for (Socket s : sockets) s.close();
        sockets.clear();
    }

    void heal() { open = true; }

    private static void daemon(Callable<?> work) {
        Thread t = new Thread(() -> {
            try {
                work.call();
            } catch (Exception e) {
                // The connection has been cut.
            }
        });
        t.setDaemon(true);
        t.start();
    }
}
