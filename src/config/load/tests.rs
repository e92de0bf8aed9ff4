//! Whole configurations: what is accepted, what is refused, and with which words.

use super::*;
use crate::config::{ClientAuth, DigestAlgorithm, FourLetterWords, StoreFormat};
use crate::model::ensemble::Server;
use std::collections::BTreeSet;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn load(&self, name: &str, text: &str, properties: &[&str]) -> Result<Config, String> {
        let sources = Sources {
            file: Some(self.file(name, text)),
            properties: properties.iter().map(|property| (*property).to_owned()).collect(),
            ..Sources::default()
        };
        // The folder is cut out, so that texts can be compared.
        load(&sources).map_err(|error| error.to_string().replace(&format!("{}/", self.0.path().display()), ""))
    }
}

fn zoo_cfg(text: &str) -> Result<Config, String> {
    Folder::new().load("zoo.cfg", text, &[])
}

fn own(text: &str) -> Result<Config, String> {
    Folder::new().load("own.toml", text, &[])
}

fn refused(result: Result<Config, String>, with: &[&str]) {
    match result {
        Ok(_) => panic!("accepted; expected {with:?}"),
        Err(text) => with.iter().for_each(|part| assert!(text.contains(part), "{text:?} lacks {part:?}")),
    }
}

#[test]
fn without_anything_it_is_local() {
    let config = load(&Sources::default()).unwrap();
    assert_eq!(config.network.client, Some("127.0.0.1:2181".parse().unwrap()));
    assert_eq!(config.storage.data_dir, PathBuf::from("wasmkeeper-data"));
    assert!(config.rules.deploy_by_anyone && config.plugins && config.warnings.is_empty());
    assert_eq!((config.sessions.timeout_ms_min, config.sessions.timeout_ms_max), (6_000, 60_000));
}

/// The template and the properties that kazoo's test suite starts its servers with.
#[test]
fn the_configuration_of_kazoos_suite() {
    let folder = Folder::new();
    let data = folder.0.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("myid"), "3").unwrap();
    let jaas = folder.file("jaas.conf", "");
    let text = format!(
        "\ntickTime=2000\ndataDir={}\nclientPort=20000\nsecureClientPort=20004\nmaxClientCnxns=0\n\
         admin.serverPort=20003\nserverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\n\
         authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n\
         ssl.keyStore.location=/x/keystore.pem\nssl.trustStore.location=/x/truststore.pem\n\
         4lw.commands.whitelist=*\nreconfigEnabled=true\nlocalSessionsEnabled=false\n\
         localSessionsUpgradingEnabled=false\n",
        data.display()
    );
    let login = format!("java.security.auth.login.config={}", jaas.display());
    let properties = [
        "file.encoding=UTF-8",
        "readonlymode.enabled=true",
        "zookeeper.log.dir=/x/log",
        "zookeeper.root.logger=INFO,CONSOLE",
        "log4j.configuration=file:/x/log4j.properties",
        "java.awt.headless=true",
        &login,
        "zookeeper.DigestAuthenticationProvider.superDigest=super:D/InIHSb7yEEbrWz8b9l71RjZJU=",
    ];
    let config = folder.load("zoo.cfg", &text, &properties).unwrap();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    assert_eq!(config.server_id, 3);
    assert_eq!(config.network.client, Some("0.0.0.0:20000".parse().unwrap()));
    assert_eq!(config.network.secure, Some("0.0.0.0:20004".parse().unwrap()));
    assert_eq!(config.network.connections_per_address_max, 0);
    assert_eq!((config.sessions.timeout_ms_min, config.sessions.timeout_ms_max), (4_000, 40_000));
    assert_eq!(config.four_letter_words, FourLetterWords::All);
    assert!(config.rules.reconfig && config.rules.sasl_scheme_enabled && config.rules.x509_scheme_enabled);
    assert!(!config.rules.deploy_by_anyone && config.read_only_mode && config.auth.sasl.is_none());
    let tls = config.tls.unwrap();
    assert_eq!((tls.key_store.format, tls.client_auth), (StoreFormat::Pem, ClientAuth::Need));
    let super_digest = DigestAlgorithm::Sha1.identity("super:test");
    assert_eq!(config.auth.super_digest, Some(super_digest));
}

#[test]
fn settings_without_effect_are_one_warning() {
    let config = zoo_cfg(
        "dataDir=d\nclientPort=1\nsnapCount=1\nautopurge.purgeInterval=24\nnoSuch=1\nauthProvider.7=com.Mine\n",
    )
    .unwrap();
    let [warning] = config.warnings.as_slice() else { panic!("{:?}", config.warnings) };
    for name in ["snapCount", "autopurge.purgeInterval", "noSuch", "authProvider.7=com.Mine"] {
        assert!(warning.contains(name), "{warning}");
    }
}

#[test]
fn refusals_name_file_line_key_and_fix() {
    let base = "dataDir=d\nclientPort=2181\n";
    refused(zoo_cfg(&format!("{base}tickTime=2s")), &["zoo.cfg:3", "tickTime", "whole number", "2s"]);
    refused(zoo_cfg(&format!("{base}jute.maxbuffer=0x4000000")), &["zoo.cfg:3", "jute.maxbuffer", "1024 to 6291456"]);
    refused(zoo_cfg(&format!("{base}skipACL=perhaps")), &["zoo.cfg:3", "skipACL", "true or false"]);
    refused(zoo_cfg(&format!("{base}clientPort=2182")), &["zoo.cfg:3", "zoo.cfg:2", "remove one"]);
    refused(zoo_cfg(&format!("{base}k=\\u12")), &["zoo.cfg:3", "hexadecimal"]);
    refused(zoo_cfg("clientPort=2181"), &["zoo.cfg", "dataDir"]);
    refused(zoo_cfg("dataDir=d"), &["clientPort"]);
    refused(zoo_cfg(&format!("{base}secureClientPort=2182")), &["zoo.cfg:3", "ssl.keyStore.location"]);
    refused(zoo_cfg(&format!("{base}minSessionTimeout=90000")), &["zoo.cfg:3", "maxSessionTimeout"]);
    refused(zoo_cfg(&format!("{base}enforce.auth.enabled=true")), &["zoo.cfg:3", "enforce.auth.schemes"]);
    refused(
        zoo_cfg(&format!("{base}secureClientPort=2182\nssl.keyStore.location=/k.jks")),
        &["zoo.cfg:4", "keytool", "/k.p12"],
    );
    refused(own("[network]\nlisten = \"nowhere\""), &["own.toml:2", "network.listen", "host:port"]);
    refused(own("[sessions]\ntick_ms = 0"), &["own.toml:2", "sessions.tick_ms", "10 to"]);
    refused(own("[zookeeper]\nfoo = 1"), &["own.toml:2", "zookeeper.foo"]);
    refused(own("[auth]\nsuper_digest = \"x\""), &["own.toml:2", "not shown"]);
}

#[test]
fn found_without_names_other_listed_servers() {
    let folder = Folder::new();
    let load = |found_without: Vec<u32>| {
        let data = folder.0.path().join("d");
        std::fs::create_dir_all(&data).unwrap();
        std::fs::write(data.join("myid"), "1").unwrap();
        let servers = "server.1=127.0.0.1:2:3\nserver.2=b:2:3\nserver.3=c:2:3";
        let file = Some(folder.file("zoo.cfg", &format!("dataDir={}\nclientPort=1\n{servers}\n", data.display())));
        load(&Sources { file, found_without, ..Sources::default() })
    };
    assert_eq!(load(vec![3]).unwrap().ensemble.found_without, BTreeSet::from([3]));
    for id in [1, 4] {
        let error = load(vec![id]).unwrap_err().to_string();
        assert!(error.contains("--found-without") && error.contains(&id.to_string()), "{error}");
    }
}

#[test]
fn command_line_file_and_properties() {
    let folder = Folder::new();
    let same = folder.load("zoo.cfg", "dataDir=d\nclientPort=1\nskipACL=yes", &["zookeeper.skipACL=yes"]).unwrap();
    assert!(same.rules.skip_acl);
    let text = "dataDir=d\nclientPort=1\nskipACL=yes";
    refused(folder.load("zoo.cfg", text, &["zookeeper.skipACL=no"]), &["zoo.cfg:3", "-D zookeeper.skipACL"]);
    let sources = Sources {
        file: Some(folder.file("zoo.cfg", "dataDir=d\nclientPort=1\n")),
        data_dir: Some("elsewhere".into()),
        listen: Some("[::1]:99".into()),
        plugins: Some(false),
        ..Sources::default()
    };
    let config = load(&sources).unwrap();
    assert_eq!(config.network.client, Some("[::1]:99".parse().unwrap()));
    assert_eq!(config.storage.log_dir, PathBuf::from("elsewhere"));
    assert!(!config.plugins && config.rules.deploy_by_anyone);
}

#[test]
fn our_own_format() {
    let config = own("four_letter_words = [\"ruok\"]\nserver_id = 7\n[network]\nlisten = \"127.0.0.1:5\"\n\
                      [sessions]\ntick_ms = 500\n[zookeeper]\n\"server.7\" = \"localhost:2888:3888\"\n")
    .unwrap();
    assert_eq!(config.network.client, Some("127.0.0.1:5".parse().unwrap()));
    assert_eq!((config.server_id, config.sessions.timeout_ms_max), (7, 10_000));
    assert!(config.four_letter_words.allows("ruok") && !config.four_letter_words.allows("srvr"));
    assert!(matches!(config.ensemble.servers.as_slice(), [Server { id: 7, .. }]));
}

#[test]
fn the_examples_are_accepted() {
    for (name, warns) in [("wasmkeeper.toml", false), ("zoo.cfg", true)] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
        let config = load(&Sources { file: Some(file), ..Sources::default() }).unwrap();
        assert_eq!(!config.warnings.is_empty(), warns, "{name}: {:?}", config.warnings);
    }
    assert_eq!(DigestAlgorithm::Sha1.identity("super:secret"), super_digest_of_the_example());
}

/// The example has three servers in both formats. All list the same members, and each is another of them.
#[test]
fn the_examples_of_an_ensemble_are_accepted() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/ensemble");
    let mut lists = Vec::new();
    for id in 1..=3 {
        let folder = Folder::new();
        folder.file("myid", &id.to_string());
        let toml = Sources { file: Some(examples.join(format!("{id}.toml"))), ..Sources::default() };
        let zoo_cfg = Sources {
            file: Some(examples.join(format!("zoo{id}.cfg"))),
            data_dir: Some(folder.0.path().to_owned()),
            ..Sources::default()
        };
        for sources in [toml, zoo_cfg] {
            let config = load(&sources).unwrap();
            assert_eq!((config.server_id, config.warnings.len()), (id, 0), "{:?}", config.warnings);
            assert_eq!(config.network.client.map(|address| address.port()), Some(2180 + id as u16));
            lists.push(config.ensemble.servers);
        }
    }
    assert!(lists.windows(2).all(|pair| pair[0] == pair[1]));
}

/// The digest in the example, whose comment gives the password.
fn super_digest_of_the_example() -> String {
    let example = include_str!("../../../examples/wasmkeeper.toml");
    let line = example.lines().find_map(|line| line.strip_prefix("super_digest = ")).unwrap();
    line.trim_matches('"').to_owned()
}

#[test]
fn tls_between_members() {
    let base = "dataDir=d\nclientPort=2181\n";
    let stores = "ssl.quorum.keyStore.location=/k.pem\nssl.quorum.trustStore.location=/t.p12\n";
    assert_eq!(zoo_cfg(&format!("{base}{stores}")).unwrap().peer_tls, None);
    let tls = zoo_cfg(&format!("{base}sslQuorum=true\n{stores}")).unwrap().peer_tls.unwrap();
    assert!(tls.verify_names && tls.client_auth == ClientAuth::Need && tls.versions.v1_2 && tls.versions.v1_3);
    assert!(!tls.reload);
    assert_eq!((tls.key_store.format, tls.trust_store.format), (StoreFormat::Pem, StoreFormat::Pkcs12));
    let changed = "ssl.quorum.hostnameVerification=false\nssl.quorum.enabledProtocols=TLSv1.3\n\
                   sslQuorumReloadCertFiles=true\n";
    let tls = zoo_cfg(&format!("{base}sslQuorum=true\n{stores}{changed}")).unwrap().peer_tls.unwrap();
    assert!(!tls.verify_names && !tls.versions.v1_2 && tls.reload);
    let no_trust = "sslQuorum=true\nssl.quorum.keyStore.location=/k.pem\n";
    refused(zoo_cfg(&format!("{base}{no_trust}")), &["zoo.cfg:3", "ssl.quorum.trustStore.location"]);
    let java = "sslQuorum=true\nssl.quorum.keyStore.location=/k.jks\n";
    refused(zoo_cfg(&format!("{base}{java}")), &["zoo.cfg:4", "keytool", "/k.p12"]);
}

#[test]
fn a_dynamic_configuration_file() {
    let folder = Folder::new();
    let dynamic = folder.file("zoo.cfg.dynamic", "server.1=localhost:2888:3888:participant;127.0.0.1:4\nversion=100\n");
    let text = format!("dataDir=d\ndynamicConfigFile={}\n", dynamic.display());
    let config = folder.load("zoo.cfg", &text, &[]).unwrap();
    assert_eq!(config.network.client, Some("127.0.0.1:4".parse().unwrap()));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

const THREE: &str = "server.1=127.0.0.1:11:12;21\nserver.2=127.0.0.2:11:12;22\nserver.3=zk3:11:12:observer;23\n\
                     server.10=zk10:11:12\n";

impl Folder {
    /// Loads `text` as a zoo.cfg with a data directory that has the file `myid`.
    fn member(&self, myid: &str, text: &str) -> Result<Config, String> {
        let data = self.0.path().join("data");
        std::fs::create_dir_all(&data).unwrap();
        std::fs::write(data.join("myid"), myid).unwrap();
        self.load("zoo.cfg", &format!("dataDir={}\n{text}", data.display()), &[])
    }
}

#[test]
fn an_ensemble() {
    let folder = Folder::new();
    let text = format!("initLimit=7\nsyncLimit=3\nelectionAlg=3\npeerType=participant\n{THREE}");
    let config = folder.member("2\n", &text).unwrap();
    assert_eq!(config.server_id, 2);
    let ids: Vec<u32> = config.ensemble.servers.iter().map(|server| server.id).collect();
    assert_eq!(ids, [1, 2, 3, 10]);
    assert_eq!(config.ensemble.listen, ["127.0.0.2:11".parse().unwrap()]);
    assert_eq!(config.network.client, Some("0.0.0.0:22".parse().unwrap()));
    assert_eq!((config.ensemble.init_ticks, config.ensemble.sync_ticks), (7, 3));
    assert!(!config.stands_alone() && !config.rules.deploy_by_anyone && config.warnings.is_empty());

    let everywhere = folder.member("2", &format!("quorumListenOnAllIPs=true\n{THREE}")).unwrap();
    assert_eq!(everywhere.ensemble.listen, ["0.0.0.0:11".parse().unwrap()]);
    // This server's own host need not resolve then. The hosts of other servers never need to.
    let named = folder.member("10", &format!("quorumListenOnAllIPs=true\nclientPort=9\n{THREE}")).unwrap();
    assert_eq!(named.network.client, Some("0.0.0.0:9".parse().unwrap()));
    let observer = folder.member("3", &format!("quorumListenOnAllIPs=true\npeerType=participant\n{THREE}")).unwrap();
    assert!(observer.warnings.iter().any(|it| it.contains("peerType") && it.contains("the line counts")));
    let text = "server.1=127.0.0.1:1:2|[::1]:3:4;5;6\nserver.2=b:1:2\nleaderServes=no\n\
                client.portUnification=false\nssl.keyStore.location=/k.pem\nssl.clientAuth=none";
    let two = folder.member("1", text).unwrap();
    assert_eq!(two.ensemble.listen, ["127.0.0.1:1".parse().unwrap(), "[::1]:3".parse().unwrap()]);
    assert_eq!(two.network.secure, Some("0.0.0.0:6".parse().unwrap()));
    for part in ["2 participants", "loss of 0", "leaderServes=no"] {
        assert!(two.warnings.iter().any(|it| it.contains(part)), "{part}: {:?}", two.warnings);
    }
}

#[test]
fn a_server_that_is_listed_alone() {
    let one = zoo_cfg("dataDir=d\nserver.4=127.0.0.1:1:2;3\n").unwrap();
    assert_eq!((one.server_id, one.stands_alone()), (4, true));
    assert_eq!(one.ensemble.listen, ["127.0.0.1:1".parse().unwrap()]);
    assert!(!zoo_cfg("dataDir=d\nserver.4=127.0.0.1:1:2;3\nstandaloneEnabled=false").unwrap().stands_alone());
}

#[test]
fn an_ensemble_in_our_own_format() {
    let text = "server_id = 2\n[network]\nlisten = \"127.0.0.1:5\"\n[ensemble]\ninit_ticks = 4\n\
                listen_on_all_addresses = true\n[ensemble.servers]\n1 = \"a:1:2;3\"\n2 = \"b:1:2\"\n\
                3 = \"c:1:2:observer\"\n";
    let config = own(text).unwrap();
    assert_eq!(config.own_server().map(ToString::to_string).as_deref(), Some("b:1:2:participant"));
    assert_eq!((config.ensemble.servers.len(), config.ensemble.init_ticks), (3, 4));
    refused(own(&text.replace("1 = \"a", "one = \"a")), &["own.toml:8", "N from 1 to 254"]);
    refused(own(&text.replace("b:1:2", "b:1")), &["own.toml:9", "the election port"]);
    refused(own(&text.replace("server_id = 2", "")), &["wasmkeeper-data/myid", "echo N >"]);
    refused(own(&format!("{text}[zookeeper]\n\"server.3\" = \"d:1:2\"\n")), &["server 3 is listed twice"]);
}

#[test]
fn an_impossible_ensemble_is_refused() {
    let folder = Folder::new();
    let member = |myid: &str, text: &str| folder.member(myid, text);
    refused(zoo_cfg(&format!("dataDir=d\n{THREE}")), &["d/myid", "does not exist", "4 servers", "echo N > d/myid"]);
    refused(member("7", THREE), &["zoo.cfg:5", "number 7", "myid", "1, 2, 3, 10"]);
    refused(member("255", THREE), &["data/myid:1", "1 to 254", "255"]);
    refused(member("1", "server.1=127.0.0.1\nserver.2=b:1:2"), &["zoo.cfg:2", "no port"]);
    refused(member("1", "server.1=a:1:2:observer\nserver.2=b:1:2:observer"), &["zoo.cfg:3", "observers"]);
    refused(member("1", "server.1=a:1:2\nserver.2=a:1:3"), &["zoo.cfg:3", "servers 1 and 2", "a:1"]);
    refused(member("1", "server.1=a:1:2\nserver.01=b:1:2"), &["zoo.cfg:3", "server 1 is listed twice"]);
    refused(member("1", "server.1=a:1:2\nserver.300=b:1:2"), &["zoo.cfg:3", "1 to 254"]);
    refused(member("1", "server.1=a:1:2\nserver.x=b:1:2"), &["zoo.cfg:3", "1 to 254"]);
    refused(
        member("1", "server.1=0.0.0.0:1:2;3\nserver.2=[::]:1:2"),
        &["zoo.cfg:3", "line server.2 has the address [::]:1:2", "this is server 1"],
    );
    refused(
        member("1", "server.1=no-such-host.invalid:1:2;9\nserver.2=b:1:2"),
        &["no-such-host.invalid", "server.1", "quorumListenOnAllIPs"],
    );
    refused(member("1", "server.1=127.0.0.1:1:2\nclientPort=1\nserver.2=b:1:2"), &["port 1", "peers"]);
    refused(member("1", "server.1=127.0.0.1:1:2;3\nclientPort=4"), &["zoo.cfg:3", "clientPort", "says 3"]);
    refused(member("1", "server.1=127.0.0.1:1:2\nserver.2=b:1:2"), &["zoo.cfg", "clientPort"]);
    refused(member("1", "group.1=1:2"), &["zoo.cfg:2", "group.1", "hierarchical quorums are not supported"]);
    refused(member("1", "electionAlg=1"), &["zoo.cfg:2", "must be 3"]);
    refused(member("1", "peerType=king"), &["zoo.cfg:2", "participant or observer"]);
    let dynamic = folder.file("dynamic", "server.1=127.0.0.1:1:2;3\n");
    let text = format!("server.2=b:1:2\ndynamicConfigFile={}", dynamic.display());
    refused(member("1", &text), &["zoo.cfg:2", "dynamicConfigFile"]);
}

#[test]
fn sasl_users_and_superusers() {
    let folder = Folder::new();
    let jaas = folder.file(
        "jaas.conf",
        "Server { org.apache.zookeeper.server.auth.DigestLoginModule required user_super=\"a\" user_bob=\"b\"; };",
    );
    let text = format!("dataDir=d\nclientPort=1\njava.security.auth.login.config={}\n", jaas.display());
    let properties = ["zookeeper.superUser=bob", "zookeeper.SASLAuthenticationProvider.superPassword=c"];
    let config = folder.load("zoo.cfg", &text, &properties).unwrap();
    let users = config.auth.sasl.clone().unwrap().users;
    assert_eq!(users.get("super").map(String::as_str), Some("c"));
    assert!(config.has_superuser() && config.auth.sasl_super_users.contains("bob"));
    assert!(!format!("{config:?}").contains("\"c\""), "passwords are not printed");
}
