//! What a start refuses: in one sentence, with the setting, the mend and an exit code, in time, without a password and with nothing half done.

use crate::components::{self, environment, free_ports};
use crate::harness::{ADMIN_KEY, Server, try_launch};
use crate::moving::{bunho, said};
use bunho_journal::kafka::{Connection, Ends, KafkaError, Retention, TopicSettings, topic};
use reqwest::StatusCode;
use serde_json::json;
use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

type Environment = Vec<(&'static str, String)>;

/// A password that must never be seen.
const SECRET: &str = "s3cret-that-is-wrong";
/// A start has decided after 15 s; a machine that runs all the components and other tests is slower.
const DECIDED_WITHIN: Duration = Duration::from_secs(90);

/// How it ended, and all that it said.
struct Ended {
    code: i32,
    said: String,
}

impl Ended {
    /// It was refused for this reason, which it names.
    fn is(&self, code: i32, names: &[&str]) {
        let Self { code: found, said } = self;
        assert_eq!(*found, code, "{said}");
        for name in names {
            assert!(said.contains(name), "{name} is not named: {said}");
        }
        assert!(!said.contains(SECRET), "a password is shown: {said}");
    }
}

/// Runs `bunho` with these settings until it ends by itself.
fn run(command: &str, environment: &[(&'static str, String)], changes: &[(&'static str, &str)]) -> Ended {
    let dir = TempDir::new().unwrap();
    let output = dir.path().join("output");
    let file = File::create(&output).unwrap();
    let mut process = serve(command, &dir, environment, changes);
    let mut process = process.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
    let began = Instant::now();
    let status = loop {
        match process.try_wait().unwrap() {
            Some(status) => break status,
            None if began.elapsed() < DECIDED_WITHIN => std::thread::sleep(Duration::from_millis(20)),
            None => {
                process.kill().unwrap();
                process.wait().unwrap();
                panic!("it goes on: {changes:?}: {}", std::fs::read_to_string(&output).unwrap());
            }
        }
    };
    Ended { code: status.code().unwrap_or(-1), said: std::fs::read_to_string(&output).unwrap() }
}

fn serve(command: &str, dir: &TempDir, environment: &[(&'static str, String)], changes: &[(&'static str, &str)]) -> Command {
    let mut process = Command::new(env!("CARGO_BIN_EXE_bunho"));
    process.arg(command).arg("--data").arg(dir.path().join("data")).stdin(Stdio::null());
    if command == "serve" {
        process.args(["--listen", "127.0.0.1:0"]);
    }
    process.env("BUNHO_ADMIN_KEY", ADMIN_KEY).env("BUNHO_LOG__LEVEL", "error");
    process.envs(environment.iter().map(|(name, value)| (name, value))).envs(changes.iter().copied());
    process
}

/// It starts; the lines that it says until it serves.
fn starts(environment: &[(&'static str, String)], changes: &[(&'static str, &str)]) -> Vec<String> {
    let dir = TempDir::new().unwrap();
    let mut started = try_launch(serve("serve", &dir, environment, changes)).unwrap_or_else(|(status, lines)| panic!("{status} {lines:?}"));
    started.process.kill().unwrap();
    started.process.wait().unwrap();
    started.lines
}

fn of<'a>(environment: &'a Environment, name: &str) -> &'a str {
    &environment.iter().find(|(found, _)| *found == name).unwrap().1
}

/// The topic that these settings name.
fn topic_of(environment: &Environment) -> Connection {
    Connection {
        brokers: of(environment, "BUNHO_KAFKA__BROKERS").into(),
        topic: of(environment, "BUNHO_KAFKA__TOPIC").into(),
        timeout: Duration::from_secs(10),
        properties: Vec::new(),
    }
}

/// Nobody has said anything in the database, and there is no topic.
async fn nothing_was_done(environment: &Environment) {
    let mut server = Server::on(TempDir::new().unwrap());
    server.set_environment(&environment.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>());
    assert_eq!(server.sql("SELECT count(*) FROM agreements"), "0");
    let topic = Ends::of(&topic_of(environment)).unwrap().read().await;
    assert!(matches!(topic, Err(KafkaError::NoTopic { .. } | KafkaError::Client { .. })), "{topic:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_reached_is_named() {
    let environment = environment("postgres");
    for (setting, value, named) in [
        ("BUNHO_REDIS__NODES", format!("[\"redis://:{SECRET}@127.0.0.1:1\", \"redis://127.0.0.1:2\"]"), "redis.nodes"),
        ("BUNHO_KAFKA__BROKERS", "127.0.0.1:1".into(), "kafka.brokers"),
        ("BUNHO_LEDGER__URL", format!("postgres://bunho:{SECRET}@127.0.0.1:1/bunho"), "ledger.url"),
        ("BUNHO_LEDGER__URL", format!("mysql://bunho:{SECRET}@127.0.0.1:1/bunho"), "ledger.url"),
    ] {
        run("serve", &environment, &[(setting, &value)]).is(69, &[named, "mend:"]);
        let doctor = run("doctor", &environment, &[(setting, &value)]);
        doctor.is(65, &[named, "FAIL", "ok    configuration"]);
    }
    run("serve", &environment, &[("BUNHO_REDIS__NODES", &format!("[\"redis//:{SECRET}@127.0.0.1:1\"]"))]).is(64, &["redis.nodes", "mend:"]);
    let misspelt = ("BUNHO_KAFKA__PROPERTIES", format!("{{\"sasl.pasword\" = \"{SECRET}\"}}"));
    run("serve", &environment, &[(misspelt.0, &misspelt.1)]).is(64, &["kafka.properties", "sasl.pasword", "mend:"]);
    run("doctor", &environment, &[(misspelt.0, &misspelt.1)]).is(65, &["FAIL  Kafka", "sasl.pasword"]);
    nothing_was_done(&environment).await;
    run("doctor", &environment, &[]).is(0, &["ok    Redis", "ok    Kafka", "ok    SQL"]);
    nothing_was_done(&environment).await;
    starts(&environment, &[]);
    run("doctor", &environment, &[]).is(0, &["ok    Redis", "ok    Kafka", "ok    SQL"]);
}

#[test]
fn who_is_not_let_in_is_told_so() {
    let environment = environment("mariadb");
    let postgres = components::database("postgres").port;
    let mariadb = components::database("mariadb").port;
    let redis = Redis::start(&["--cluster-enabled", "yes", "--requirepass", "the-right-one"]);
    let alone = Redis::start(&["--requirepass", "the-right-one"]);
    for (setting, value, named) in [
        ("BUNHO_LEDGER__URL", format!("postgres://nobody:{SECRET}@127.0.0.1:{postgres}/bunho"), "ledger.url"),
        ("BUNHO_LEDGER__URL", format!("postgres://bunho:{SECRET}@127.0.0.1:{postgres}/nowhere"), "ledger.url"),
        ("BUNHO_LEDGER__URL", format!("mysql://nobody:{SECRET}@127.0.0.1:{mariadb}/bunho"), "ledger.url"),
        ("BUNHO_LEDGER__URL", format!("mysql://bunho:{SECRET}@127.0.0.1:{mariadb}/bunho"), "ledger.url"),
        ("BUNHO_LEDGER__URL", format!("mysql://bunho@127.0.0.1:{mariadb}/nowhere"), "ledger.url"),
        ("BUNHO_REDIS__NODES", format!("[\"redis://:{SECRET}@127.0.0.1:{}\"]", redis.port), "redis.nodes"),
        ("BUNHO_REDIS__NODES", format!("[\"redis://bunho:{SECRET}@127.0.0.1:{}\"]", redis.port), "redis.nodes"),
        ("BUNHO_REDIS__NODES", format!("[\"redis://127.0.0.1:{}\"]", redis.port), "redis.nodes"),
        ("BUNHO_REDIS__NODES", format!("[\"redis://:the-right-one@127.0.0.1:{}\"]", alone.port), "not a cluster"),
    ] {
        let ended = run("serve", &environment, &[(setting, &value)]);
        ended.is(64, &[named, "mend:"]);
        assert!(!ended.said.contains("the-right-one"), "{}", ended.said);
    }
}

#[test]
fn a_redis_that_forgets_is_refused_and_can_be_waived() {
    let environment = environment("postgres");
    let redis = Redis::start(&["--cluster-enabled", "yes", "--maxmemory-policy", "allkeys-lru", "--appendonly", "no"]);
    redis.ask(&["cluster", "addslotsrange", "0", "16383"]);
    redis.until(&["cluster", "info"], "cluster_state:ok");
    let nodes = format!("[\"redis://127.0.0.1:{}\"]", redis.port);
    let here = [("BUNHO_REDIS__NODES", nodes.as_str()), ("BUNHO_REDIS__REPLICAS", "0")];
    let names = ["redis.maxmemory-policy", "redis.appendonly", "redis.replicas", "redis.primaries"];
    run("serve", &environment, &here).is(64, &names);
    let doctor = run("doctor", &environment, &here);
    doctor.is(65, &names);
    assert!(doctor.said.contains("FAIL  redis.appendonly: "), "{}", doctor.said);

    let waive = |names: &[&str]| format!("[{}]", names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", "));
    let some = waive(&names[1..]);
    run("serve", &environment, &[here[0], here[1], ("BUNHO_CLUSTER__WAIVE", &some)])
        .is(64, &["redis.maxmemory-policy", "WAIVED redis.appendonly"]);
    let all = waive(&names);
    let lines = starts(&environment, &[here[0], here[1], ("BUNHO_CLUSTER__WAIVE", &all)]);
    for name in names {
        assert!(lines.iter().any(|line| line.starts_with(&format!("WAIVED {name}: "))), "{lines:?}");
    }
    run("doctor", &environment, &[here[0], here[1], ("BUNHO_CLUSTER__WAIVE", &all)]).is(0, &["WAIVED"]);
}

/// What is promoted decides with its own settings, and has only what it has copied.
#[test]
fn a_replica_that_forgets_or_copies_nothing_is_refused() {
    let environment = environment("postgres");
    let password = ["--requirepass", "word", "--cluster-enabled", "yes", "--appendonly"];
    let primary = Redis::start(&[&password[..], &["yes"]].concat());
    let replica = Redis::start(&[&password[..], &["no", "--maxmemory-policy", "allkeys-lru"]].concat());
    let ask = |redis: &Redis, arguments: &[&str]| redis.ask(&[&["-a", "word"], arguments].concat()).unwrap();
    let until = |redis: &Redis, arguments: &[&str], says| redis.until(&[&["-a", "word"], arguments].concat(), says);
    ask(&primary, &["cluster", "addslotsrange", "0", "16383"]);
    ask(&replica, &["cluster", "meet", "127.0.0.1", &primary.port.to_string(), &primary.bus.to_string()]);
    let id = ask(&primary, &["cluster", "myid"]);
    until(&replica, &["cluster", "nodes"], "0-16383");
    until(&replica, &["cluster", "replicate", id.trim()], "OK");
    until(&primary, &["cluster", "nodes"], "slave");
    until(&primary, &["cluster", "info"], "cluster_state:ok");
    let nodes = format!("[\"redis://:word@127.0.0.1:{}\"]", primary.port);
    let here = [("BUNHO_REDIS__NODES", nodes.as_str()), ("BUNHO_REDIS__REPLICAS", "1")];
    let doctor = run("doctor", &environment, &here);
    doctor.is(65, &["FAIL  redis.replicas: ", "masterauth", "FAIL  redis.maxmemory-policy: ", "FAIL  redis.appendonly: "]);
    assert!(doctor.said.contains(&format!("redis.appendonly: 127.0.0.1:{}", replica.port)), "{}", doctor.said);
    for (setting, value) in [("masterauth", "word"), ("maxmemory-policy", "noeviction"), ("appendonly", "yes")] {
        ask(&replica, &["config", "set", setting, value]);
    }
    until(&primary, &["info", "replication"], "state=online");
    let doctor = run("doctor", &environment, &here);
    doctor.is(65, &["FAIL  redis.primaries: ", "1 of them replicated"]);
    assert!(!doctor.said.contains("redis.replicas") && !doctor.said.contains("redis.appendonly"), "{}", doctor.said);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_with_other_settings_is_refused_and_can_be_waived() {
    let environment = environment("postgres");
    // Three copies need three brokers.
    run("serve", &environment, &[("BUNHO_KAFKA__REPLICATION", "3")]).is(64, &["kafka.replication", "mend:"]);
    nothing_was_done(&environment).await;
    let other = TopicSettings { partitions: 3, replication: 1, retention: Retention::AtLeast(Duration::from_secs(3_600)) };
    topic::ensure(&topic_of(&environment), &other).await.unwrap();
    run("serve", &environment, &[]).is(64, &["kafka.partitions", "kafka.retention.ms"]);
    run("doctor", &environment, &[]).is(65, &["FAIL  kafka.partitions: ", "FAIL  kafka.retention.ms: "]);
    // What was refused was not agreed on.
    let three = ("BUNHO_KAFKA__PARTITIONS", "3");
    let retention = "kafka.retention.ms";
    run("serve", &environment, &[three]).is(64, &[retention]);
    run("serve", &environment, &[three, ("BUNHO_KAFKA__REPLICATION", "3")])
        .is(64, &["kafka.replication.factor", "kafka.min.insync.replicas"]);
    let lines = starts(&environment, &[three, ("BUNHO_CLUSTER__WAIVE", &format!("[\"{retention}\"]"))]);
    assert!(lines.iter().any(|line| line.starts_with(&format!("WAIVED {retention}: "))), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_installation_at_the_same_database_is_refused() {
    for database in ["postgres", "mariadb"] {
        let environment = environment(database);
        let pairs: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let server = Server::start_nodes(1, &pairs, &[]).await;
        let folder = TempDir::new().unwrap();
        let other_topic = format!("{}-other", of(&environment, "BUNHO_KAFKA__TOPIC"));
        for (setting, value, named) in [
            ("BUNHO_KAFKA__TOPIC", other_topic.as_str(), "kafka.topic"),
            ("BUNHO_KAFKA__PARTITIONS", "12", "kafka.partitions"),
            ("BUNHO_REDIS__PREFIX", "other", "redis.prefix"),
            ("BUNHO_CLUSTER__SECRETS_DIR", folder.path().to_str().unwrap(), "cluster.secrets_dir"),
        ] {
            run("serve", &environment, &[(setting, value)]).is(64, &[named, "mend:"]);
        }
        let other = Ends::of(&Connection { topic: other_topic, ..topic_of(&environment) }).unwrap().read().await;
        assert!(other.is_err(), "the other's topic was made");
        server
            .sql("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'x', true, '', 0)");
        run("serve", &environment, &[]).is(65, &["9999", "newer program"]);
        run("doctor", &environment, &[]).is(65, &["FAIL  SQL", "9999"]);
        server.until_ready().await;
    }
}

/// A database that was lost, or left behind: what its topic and its Redis still have must not get into a new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_database_does_not_take_up_what_another_left() {
    let environment = environment("postgres");
    let pairs: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut server = Server::start_nodes(1, &pairs, &[]).await;
    server.put_offer("drop", json!({"kind": "coupon", "quantity": 5})).await;
    assert_eq!(server.claim("drop", "u", None, json!({"quantity": 1})).await.0, StatusCode::CREATED);
    let new = components::new_database("postgres");
    let (database, topic) = (("BUNHO_LEDGER__URL", new.as_str()), format!("{}-new", of(&environment, "BUNHO_KAFKA__TOPIC")));
    let (topic, prefix) = (("BUNHO_KAFKA__TOPIC", topic.as_str()), ("BUNHO_REDIS__PREFIX", "new"));
    run("serve", &environment, &[database, prefix]).is(64, &["kafka.topic", "mend:"]);
    run("serve", &environment, &[database, topic]).is(64, &["redis.prefix", "mend:"]);
    let doctor = run("doctor", &environment, &[database]);
    doctor.is(65, &["FAIL  Redis: ", "FAIL  Kafka: "]);
    // What was refused was not agreed on, and who has it all goes on.
    starts(&environment, &[database, topic, prefix]);
    assert_eq!(server.stop(), 0);
    server.restart().await;
    assert_eq!(server.offer("drop").await["confirmed"], 1);
}

/// Two nodes with a database in common and a Redis each would sell everything twice; a Redis that was emptied is no other one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_another_redis_than_the_others_is_refused() {
    let environment = environment("postgres");
    let alone = || {
        let redis = Redis::start(&["--cluster-enabled", "yes", "--appendonly", "yes"]);
        redis.ask(&["cluster", "addslotsrange", "0", "16383"]);
        redis.until(&["cluster", "info"], "cluster_state:ok");
        redis
    };
    let (one, two) = (alone(), alone());
    let nodes = |redis: &Redis| format!("[\"redis://127.0.0.1:{}\"]", redis.port);
    let (of_one, of_two) = (nodes(&one), nodes(&two));
    let replicas = ("BUNHO_REDIS__REPLICAS", "0");
    let usual = ("BUNHO_CLUSTER__WAIVE", "[\"redis.replicas\", \"redis.primaries\"]");
    let also = ("BUNHO_CLUSTER__WAIVE", "[\"redis.replicas\", \"redis.primaries\", \"redis.installation\"]");
    let with = |nodes: &'static str| [("BUNHO_REDIS__NODES", nodes), replicas, usual];
    let (of_one, of_two): (&'static str, &'static str) = (of_one.leak(), of_two.leak());
    let mut pairs: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    pairs.extend(with(of_one));
    let mut server = Server::start_nodes(1, &pairs, &[]).await;
    run("serve", &environment, &with(of_two)).is(64, &["redis.installation", "redis.nodes"]);
    run("doctor", &environment, &with(of_two)).is(65, &["FAIL  redis.installation: "]);
    // Emptied, it is signed again by whoever runs; and with nobody there it is still the same Redis.
    one.ask(&["flushall"]);
    let key = format!("{}:installation", of(&environment, "BUNHO_REDIS__PREFIX"));
    one.until(&["get", &key], "cluster-");
    starts(&environment, &with(of_one));
    server.kill();
    one.ask(&["flushall"]);
    starts(&environment, &with(of_one));
    // All of Redis was replaced, and an operator says so once.
    starts(&environment, &[with(of_two)[0], replicas, also]);
    starts(&environment, &with(of_two));
}

/// What one installation sells, another must not sell again because its configuration names the wrong database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_does_not_take_up_what_another_or_a_cluster_has() {
    for database in ["postgres", "mariadb"] {
        let cluster = environment(database);
        let pairs: Vec<(&str, &str)> = cluster.iter().map(|(name, value)| (*name, value.as_str())).collect();
        drop(Server::start_nodes(1, &pairs, &[]).await);
        // Somebody forgot to say that it is a cluster.
        let url = ("BUNHO_LEDGER__URL", of(&cluster, "BUNHO_LEDGER__URL"));
        run("serve", &[], &[url]).is(64, &["engine.shape", "ledger.url", "mend:"]);
        run("rebuild", &[], &[url]).is(64, &["engine.shape", "mend:"]);

        let mut server = components::embedded(database).await;
        server.put_offer("drop", json!({"kind": "coupon", "quantity": 5})).await;
        assert_eq!(server.claim("drop", "u", None, json!({"quantity": 1})).await.0, StatusCode::CREATED);
        server.until_projected().await;
        let own = server.setting("BUNHO_LEDGER__URL");
        let url = ("BUNHO_LEDGER__URL", own.as_str());
        run("serve", &[], &[url]).is(65, &["another installation", "--data", "mend:"]);
        run("serve", &cluster, &[url]).is(64, &["embedded", "bunho export", "mend:"]);
        assert_eq!(server.stop(), 0);
        server.restart().await;
        assert_eq!(server.offer("drop").await["confirmed"], 1);
        server.kill();

        // A folder that is gone for good: the ledger has what was projected.
        let folder = TempDir::new().unwrap();
        let data = folder.path().to_str().unwrap();
        let rebuilt = bunho(&[("BUNHO_LEDGER__URL", own.clone())], &["rebuild", "--accept-loss", "--data", data]);
        assert!(rebuilt.status.success(), "{}", said(&rebuilt));
        let mut new = Server::on(folder);
        new.set_environment(&[url]);
        new.restart().await;
        assert_eq!(new.offer("drop").await["confirmed"], 1);
        assert_eq!(server.try_launch().expect_err("the ledger is the other's").0.code(), Some(65));
    }
}

/// A Redis of one's own, which ends with this.
struct Redis {
    process: Child,
    port: u16,
    bus: u16,
    _dir: TempDir,
}

impl Redis {
    fn start(arguments: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        let port = free_ports(2);
        let bus = port + 1;
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"]).arg(dir.path());
        command.args(["--cluster-port", &bus.to_string(), "--cluster-announce-ip", "127.0.0.1"]).args(arguments);
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let redis = Self { process, port, bus, _dir: dir };
        // Also one that wants a password first answers.
        redis.until(&["ping"], "");
        redis
    }

    fn ask(&self, arguments: &[&str]) -> Option<String> {
        let output = Command::new("redis-cli").args(["-p", &self.port.to_string()]).args(arguments).output().unwrap();
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn until(&self, arguments: &[&str], says: &str) {
        let began = Instant::now();
        while !self.ask(arguments).is_some_and(|said| said.contains(says)) {
            assert!(began.elapsed() < Duration::from_secs(60), "redis-server does not say {says:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
