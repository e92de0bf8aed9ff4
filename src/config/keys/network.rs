//! Settings of the section `Network`: addresses, ports, and bounds on connections and requests.

use super::values::{boolean, number, port};
use super::{Effect, Key, key};
use crate::limits;

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "",
        toml: "network.listen",
        default: "127.0.0.1:2181",
        effect: Effect::Set(|draft, _, value| {
            draft.listen = Some(value.to_owned());
            Ok(())
        }),
        meaning: "Address and port for clients, `host:port`; also `--listen`. Only programs on this machine can reach \
                  the default address. `0.0.0.0:2181` lets every machine in, so set a superuser first.",
    },
    Key {
        name: "",
        toml: "network.secure_listen",
        default: "",
        effect: Effect::Set(|draft, _, value| {
            draft.secure_listen = Some(value.to_owned());
            Ok(())
        }),
        meaning: "Address and port for clients that use TLS, `host:port`. Needs `tls.key_store`.",
    },
    key("clientPort", "", "2181 without a file", "Port for clients, 1 to 65535.", |draft, _, value| {
        draft.client_port = Some(port(value)?);
        Ok(())
    }),
    key(
        "clientPortAddress",
        "",
        "0.0.0.0",
        "Host name or IP address on which `clientPort` is opened.",
        |draft, _, value| {
            draft.client_address = Some(value.to_owned());
            Ok(())
        },
    ),
    key(
        "secureClientPort",
        "",
        "",
        "Port for clients that use TLS, 1 to 65535. Needs `ssl.keyStore.location`.",
        |draft, _, value| {
            draft.secure_port = Some(port(value)?);
            Ok(())
        },
    ),
    key(
        "secureClientPortAddress",
        "",
        "0.0.0.0",
        "Host name or IP address on which `secureClientPort` is opened.",
        |draft, _, value| {
            draft.secure_address = Some(value.to_owned());
            Ok(())
        },
    ),
    key(
        "maxClientCnxns",
        "network.connections_per_address_max",
        "60",
        "Connections that one client address may have; 0: any number. Raise it if many clients share an address (a \
         gateway, a test suite). It is no protection against a client with many addresses: see `maxCnxns`.",
        |draft, _, value| number(value, 0..=1_000_000, &mut draft.config.network.connections_per_address_max),
    ),
    key(
        "maxCnxns",
        "network.connections_max",
        "0",
        "Connections of all clients together; 0: as many as the process may have file descriptors.",
        |draft, _, value| number(value, 0..=10_000_000, &mut draft.config.network.connections_max),
    ),
    key(
        "admin.enableServer",
        "admin.enable",
        "false",
        "Whether HTTP serves metrics (`/metrics`, in Prometheus' format), `/healthz`, `/readyz` and `/plugins`. The \
         HTTP is not encrypted: everyone who reaches the port can read them. Unlike ZooKeeper's, it is off by default \
         and has no `/commands`.",
        |draft, _, value| boolean(value, &mut draft.admin.enabled),
    ),
    key(
        "admin.serverAddress",
        "admin.address",
        "127.0.0.1",
        "Address of the HTTP server. Unlike ZooKeeper's, the default lets in only programs on this machine.",
        |draft, _, value| {
            draft.admin.address = Some(value.to_owned());
            Ok(())
        },
    ),
    key("admin.serverPort", "admin.port", "8080", "Port of the HTTP server, 1 to 65535.", |draft, _, value| {
        // Test suites turn the server off with port 0.
        draft.admin.port = if value == "0" { None } else { Some(port(value)?) };
        Ok(())
    }),
    key(
        "clientPortListenBacklog",
        "network.backlog",
        "1024",
        "Connections that the kernel queues until the server accepts them, 1 to 65535; -1: the default. The kernel's \
         `net.core.somaxconn` is an upper bound.",
        |draft, _, value| {
            if value == "-1" {
                draft.config.network.backlog = limits::LISTEN_BACKLOG;
                return Ok(());
            }
            number(value, 1..=65_535, &mut draft.config.network.backlog)
        },
    ),
    key(
        "jute.maxbuffer",
        "network.frame_bytes_max",
        "1048575",
        "Bytes of one request, 1024 to 6291456, in decimal or as `0x` and hexadecimal. A longer request closes its \
         connection. A transaction may have 8 MiB, and a larger request would not fit with what is added to it. Clients \
         have the same bound for replies, so set it there as well. A reply is 88 bytes longer than the data in it, so \
         data that only just fits into a request can be written and not read, as in ZooKeeper. Large requests delay \
         all clients: keep data small.",
        |draft, _, value| match value.strip_prefix("0x") {
            Some(digits) => {
                let bytes = i64::from_str_radix(digits, 16).map_err(|_| "must be a number".to_owned())?;
                number(&bytes.to_string(), 1024..=limits::FRAME_BYTES_LIMIT, &mut draft.config.network.frame_bytes_max)
            }
            None => number(value, 1024..=limits::FRAME_BYTES_LIMIT, &mut draft.config.network.frame_bytes_max),
        },
    ),
    key(
        "nio.sessionlessCnxnTimeout",
        "network.sessionless_timeout_ms",
        "10000",
        "Milliseconds, 100 to 3600000. A new connection that has not asked for a session by then is closed.",
        |draft, _, value| number(value, 100..=3_600_000, &mut draft.config.network.sessionless_timeout_ms),
    ),
    key(
        "clientTcpKeepAlive",
        "network.tcp_keep_alive",
        "false",
        "Accepted, and without effect in this version: TCP keep-alive stays off. The pings of sessions find dead \
         connections.",
        |draft, _, value| boolean(value, &mut draft.config.network.tcp_keep_alive),
    ),
    key(
        "globalOutstandingLimit",
        "network.outstanding_requests_max",
        "1000",
        "Unanswered requests of all clients together, 1 to 1000000. Beyond this number the server reads only from \
         connections that have no unanswered request, so every client can always send one. Besides, each connection \
         may have 1000 unanswered requests.",
        |draft, _, value| number(value, 1..=1_000_000, &mut draft.config.throttle.outstanding_max),
    ),
];
