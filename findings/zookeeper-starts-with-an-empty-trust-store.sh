#!/usr/bin/env bash
# A PKCS#12 trust store made by OpenSSL has one certificate for OpenSSL and none for Java. ZooKeeper 3.9.5 starts with
# it and then resets every TLS connection.
#
# Guess: `openssl pkcs12 -export -nokeys -in ca.pem` makes a trust store for a Java program that accepts PKCS#12. If
#   ZooKeeper could not use it, it would refuse to start.
# Instead: Java trusts a certificate without a key only if its bag has Java's own attribute trustedKeyUsage
#   (2.16.840.1.113894.746875.1.1). keytool writes the attribute. OpenSSL writes it only since 3.2, with -jdktrust. So
#   the store has 0 entries for Java. ZooKeeper logs "the trustAnchors parameter must be non-empty", opens both ports,
#   serves the plain one, and resets all connections on the secure one. Clients stay in state CONNECTING.
# Why it matters: A health check by four letter words sees a healthy server. A server built on OpenSSL reads the
#   certificate from the same file and works. A server should refuse to start when it finds nothing to trust, and name
#   this cause.
# Documents: ZooKeeper, Administrator's Guide, "Encryption, Authentication, Authorization Options", lists JKS, PEM,
#   PKCS12 and BCFKS as types of trust stores and does not mention the attribute.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
zookeeper_jars
echo "$(openssl version)"
(cd "$work"
 openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=Example-CA -days 30
 openssl req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=localhost
 echo subjectAltName=IP:127.0.0.1,DNS:localhost > names
 openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 30 -extfile names
 openssl pkcs12 -export -in server.pem -inkey server.key -out key.p12 -passout pass:secret1 -name server
 openssl pkcs12 -export -nokeys -in ca.pem -out by-openssl.p12 -passout pass:secret1 -name ca
 keytool -importcert -noprompt -alias ca -file ca.pem -keystore by-keytool.p12 -storetype PKCS12 -storepass secret1) > "$work/log" 2>&1
cat > "$work/Secure.java" <<'JAVA'
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.client.ZKClientConfig;

class Secure {
    public static void main(String[] args) throws Exception {
        ZKClientConfig config = new ZKClientConfig();
        config.setProperty("zookeeper.client.secure", "true");
        config.setProperty("zookeeper.clientCnxnSocket", "org.apache.zookeeper.ClientCnxnSocketNetty");
        config.setProperty("zookeeper.ssl.keyStore.location", args[1] + "/key.p12");
        config.setProperty("zookeeper.ssl.keyStore.password", "secret1");
        config.setProperty("zookeeper.ssl.trustStore.location", args[1] + "/by-keytool.p12");
        config.setProperty("zookeeper.ssl.trustStore.password", "secret1");
        ZooKeeper zk = new ZooKeeper("127.0.0.1:" + args[0], 30000, e -> {}, config);
        int tries = 10 * Integer.parseInt(args[2]);
        for (int i = 0; i < tries && !zk.getState().isConnected(); i++) Thread.sleep(100);
        System.out.println("state " + zk.getState());
        zk.close();
    }
}
JAVA
certificates() { openssl pkcs12 -in "$work/$1.p12" -nokeys -passin pass:secret1 2> "$work/log" | grep -c 'BEGIN CERTIFICATE'; }
entries() { keytool -list -keystore "$work/$1.p12" -storepass secret1 2> "$work/log" | sed -n 's/.*contains \([0-9]*\) entr.*/\1/p'; }
for store in by-keytool by-openssl; do
  echo "$store, certificates for openssl = $(certificates $store)"
  echo "$store, entries for Java = $(entries $store)"
  secure=$(free_port)
  zookeeper_start "$work/$store" "secureClientPort=$secure" secureClientPortAddress=127.0.0.1 \
    serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory \
    "ssl.keyStore.location=$work/key.p12" ssl.keyStore.password=secret1 \
    "ssl.trustStore.location=$work/$store.p12" ssl.trustStore.password=secret1 > "$work/log"
  echo "$store, srvr on the plain port = $(four "$zookeeper_port" srvr | grep Mode)"
  seconds=60 # a busy machine needs some for the handshake that works
  [[ $store == by-openssl ]] && seconds=10
  echo "$store, secure client = $(run_java_program "$work/Secure.java" "$secure" "$work" $seconds 2> "$work/log" \
    | sed -n "s/^state //p")"
  echo "$store, server's log = $(grep -o -m1 'the trustAnchors parameter must be non-empty' "$work/$store/out.log" || echo nothing)"
done > "$work/seen"
expect_lines "$work/seen" <<'SEEN'
by-keytool, certificates for openssl = 1
by-keytool, entries for Java = 1
by-keytool, srvr on the plain port = Mode: standalone
by-keytool, secure client = CONNECTED
by-keytool, server's log = nothing
by-openssl, certificates for openssl = 1
by-openssl, entries for Java = 0
by-openssl, srvr on the plain port = Mode: standalone
by-openssl, secure client = CONNECTING
by-openssl, server's log = the trustAnchors parameter must be non-empty
SEEN
finish
