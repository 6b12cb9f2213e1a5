//! `bunho-load` against the real server, small: each workload plays, is judged, and tells what is wrong with its input.
//!
//! It is called as a library, with the arguments that a shell would give it, and knows nothing of the server but its address and
//! its key.

use crate::harness::{ADMIN_KEY, Server, nobody};
use bunho_load::run::{Outside, run};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What a run left behind.
struct Played {
    code: u8,
    out: String,
    err: String,
}

impl Played {
    /// The results, for a run with `--json -`.
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}\n{}", self.out, self.err))
    }
}

/// Sees what is written, and may end the run because of it.
struct Watched<'a> {
    text: Vec<u8>,
    stop_at: Option<&'a str>,
    stop: Arc<AtomicBool>,
}

impl Write for Watched<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.text.extend_from_slice(bytes);
        if self.stop_at.is_some_and(|word| String::from_utf8_lossy(&self.text).contains(word)) {
            self.stop.store(true, Ordering::Relaxed);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// `bunho-load` with these arguments; ends early, as by Ctrl-C, once its progress says `stop_at`.
async fn play(arguments: &str, stop_at: Option<&'static str>) -> Played {
    let arguments: Vec<OsString> = std::iter::once("bunho-load").chain(arguments.split_whitespace()).map(OsString::from).collect();
    let played = tokio::task::spawn_blocking(move || {
        let stop = Arc::new(AtomicBool::new(false));
        let mut err = Watched { text: Vec::new(), stop_at, stop: stop.clone() };
        let mut out = Vec::new();
        let code = run(arguments, &mut Outside { out: &mut out, err: &mut err, terminal: false, stop: &stop });
        Played { code, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err.text).unwrap() }
    });
    played.await.unwrap()
}

/// Promises that a loaded machine breaks on its own: who polls late enters late.
const TIMED: [&str; 2] = ["capacity_used", "estimates"];

/// The same against a server, as JSON. Every promise is kept that does not hang on how fast this machine is just now.
async fn judged(server: &Server, arguments: &str) -> Value {
    let played = play(&format!("{arguments} --target {} --admin-key {ADMIN_KEY} --json -", server.url), None).await;
    assert!(played.code <= 1, "{arguments}: {}{}", played.out, played.err);
    let json = played.json();
    assert_eq!((json["passed"].as_bool(), json["end"].as_str()), (Some(played.code == 0), Some("planned")), "{arguments}");
    let broken: Vec<&Value> = json["verdicts"].as_array().unwrap().iter().filter(|verdict| verdict["outcome"] == "failed").collect();
    assert!(broken.iter().all(|verdict| TIMED.iter().any(|name| verdict["name"] == *name)), "{arguments}: {broken:#?}");
    json
}

/// What a verdict says: `held`, `failed` or `not_judged`.
fn verdict<'a>(json: &'a Value, name: &str) -> &'a str {
    let verdicts = json["verdicts"].as_array().unwrap();
    verdicts.iter().find(|verdict| verdict["name"] == name).unwrap_or_else(|| panic!("no verdict {name}"))["outcome"].as_str().unwrap()
}

/// A window of two seconds, so that three of them are a short test.
const SHORT_LINE: &str = "--limit 100 --window-seconds 2 --slot-seconds 1 --poll-ms 200 --poll-max-ms 600";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_is_played_and_judged() {
    let server = Server::start().await;
    let json = judged(&server, &format!("line --vus 300 --duration 8s {SHORT_LINE} --leave 0.1 --leave-openly 0.1 --seed 1")).await;
    let zone = &json["zones"][0];
    let [came, entered, left] = ["came", "entered", "left"].map(|name| zone[name].as_u64().unwrap());
    assert!(came > 300 && left > 10 && entered >= 300, "{zone}");
    assert_eq!((verdict(&json, "rolling_limit"), verdict(&json, "ranks_never_rise")), ("held", "held"));
    assert!(json["trails"].as_array().is_some_and(|trails| trails.len() > 1), "{}", json["trails"]);
    assert!(json["calls"]["leave"]["outcomes"]["2xx"].as_u64().is_some_and(|left| left > 0), "{}", json["calls"]);
    let (seconds, elapsed_ms) = (json["seconds"].as_array().unwrap().len() as u64, json["elapsed_ms"].as_u64().unwrap());
    assert!((8..=elapsed_ms / 1_000 + 2).contains(&seconds), "{seconds} in {elapsed_ms} ms");
    // Arrivals of its own rhythm, in stages.
    let open = judged(&server, &format!("line --rate 40 --stage 1s:50% --stage 3s:100% {SHORT_LINE}")).await;
    assert_eq!(open["zones"][0]["came"], 100, "20 a second at the end of the first second, then up to 40: 10 + 90");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_of_every_kind_are_played_and_judged() {
    let server = Server::start().await;
    let goods = judged(&server, "goods --vus 50 --total 500 --quantity 300 --pay-ms 20 --seed 3").await;
    assert_eq!(
        (verdict(&goods, "never_oversold"), verdict(&goods, "never_lost"), verdict(&goods, "never_twice")),
        ("held", "held", "held")
    );
    for call in ["confirm", "release"] {
        assert!(goods["calls"][call]["outcomes"]["2xx"].as_u64().is_some_and(|count| count > 20), "{}", goods["calls"]);
    }
    let coupon = judged(&server, "coupon --vus 64 --total 600 --quantity 200").await;
    let outcomes = &coupon["calls"]["claim"]["outcomes"];
    assert!(outcomes["limit_reached"].as_u64() > Some(0) && outcomes["sold_out"].as_u64() > Some(0), "{outcomes}");
    assert_eq!(coupon["offers"][0]["after"], json!({"quantity": 200, "remaining": 0, "held": 0, "confirmed": 200}));
    let booking = judged(&server, "booking --total 40 --vus 10 --quantity 60 --pay-ms 5").await;
    assert_eq!((booking["offers"][0]["after"]["confirmed"].as_u64(), booking["offers"][1]["granted"].as_u64()), (Some(60), Some(30)));
    let mixed = judged(&server, &format!("mixed --vus 40 --duration 8s {SHORT_LINE} --quantity 150 --pay-ms 5")).await;
    assert!(mixed["offers"][0]["answers"].as_u64() > Some(100), "{}", mixed["offers"]);
    let claims = judged(&server, "claims --rate 200 --duration 1s").await;
    assert_eq!(claims["offers"][0]["after"]["confirmed"], 200);
    let null = judged(&server, "null --total 100 --vus 4 --pipeline 4 --connections 2").await;
    assert_eq!(null["calls"]["null"]["outcomes"]["2xx"], 100);
    server.assert_reconciled();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_experiments_of_the_source_documents_are_played() {
    let server = Server::start().await;
    let farm = judged(&server, "seed 000").await;
    assert_eq!(farm["calls"]["claim"]["outcomes"], json!({"2xx": 5, "sold_out": 2}));
    assert_eq!(farm["published"].as_array().unwrap().iter().map(|figure| &figure["today"]).collect::<Vec<_>>(), ["5", "0", "5"]);
    let goods = judged(&server, "seed 001 --vus 200 --time-scale 0.2").await;
    assert_eq!(goods["calls"]["claim"]["outcomes"]["2xx"], 200);
    let coupon = judged(&server, "seed 003 --vus 10").await;
    assert_eq!(coupon["offers"][0]["after"]["confirmed"], 500);
    let line = judged(&server, "seed 002 --vus 400 --limit 300 --time-scale 0.05 --seed 5").await;
    assert_eq!(line["published"].as_array().unwrap().len(), 7);
    assert!(line["zones"][0]["entered"].as_u64() >= Some(300) && line["elapsed_ms"].as_u64() >= Some(8_000), "{}", line["zones"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_cut_short_reports_what_it_saw() {
    let server = Server::start().await;
    let folder = tempfile::TempDir::new().unwrap();
    let file = |name: &str| folder.path().join(name);
    let arguments = format!(
        "line --vus 100 --duration 10m {SHORT_LINE} --target {} --admin-key {ADMIN_KEY} --json {} --report {}",
        server.url,
        file("run.json").display(),
        file("run.html").display()
    );
    let played = play(&arguments, Some("   2 s ")).await;
    assert!(played.code <= 1, "{}{}", played.out, played.err);
    let json: Value = serde_json::from_slice(&std::fs::read(file("run.json")).unwrap()).unwrap();
    assert_eq!((json["end"].as_str(), json["zones"][0]["came"].as_u64() >= Some(100)), (Some("interrupted"), true));
    assert_eq!(json["seconds"].as_array().unwrap().iter().map(|second| second["failed"].as_u64().unwrap()).sum::<u64>(), 0);
    assert!(std::fs::read_to_string(file("run.html")).unwrap().contains("</html>"));
    assert!(played.out.contains("rolling limit"), "{}", played.out);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answers_lose_nothing_and_give_nothing_twice() {
    let server = Server::start().await;
    let lossy = lossy(server.url.strip_prefix("http://").unwrap().to_string());
    let arguments =
        format!("goods --vus 40 --total 600 --quantity 400 --pay-ms 5 --target http://{lossy} --admin-key {ADMIN_KEY} --json -");
    let played = play(&arguments, None).await;
    let json = played.json();
    assert!(json["calls"]["claim"]["outcomes"]["no_answer"].as_u64() > Some(5), "{}", json["calls"]);
    // That calls were lost is said; nothing else is wrong.
    assert_eq!((played.code, verdict(&json, "calls_answered")), (1, "failed"));
    for promise in ["never_oversold", "never_lost", "never_twice"] {
        assert_eq!(verdict(&json, promise), "held", "{}", json["verdicts"]);
    }
    server.assert_reconciled();
}

/// A way to a server on which every thirtieth answer is lost, and its connection with it.
fn lossy(server: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answers = Arc::new(AtomicU64::new(0));
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (Ok(mut client), Ok(mut upstream)) = (client, TcpStream::connect(&server)) else { return };
            let (mut back, mut forth) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut client, &mut upstream));
            let answers = answers.clone();
            std::thread::spawn(move || {
                let mut buffer = [0; 16 * 1_024];
                while let Ok(read @ 1..) = forth.read(&mut buffer) {
                    let lost = answers.fetch_add(1, Ordering::Relaxed) % 30 == 29;
                    if lost || back.write_all(&buffer[..read]).is_err() {
                        break;
                    }
                }
                let _ = back.shutdown(std::net::Shutdown::Both);
                let _ = forth.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_is_told_in_a_sentence() {
    let server = Server::start_with(&[], &["--demo"]).await;
    let url = &server.url;
    let with_key = format!("--target {url} --admin-key {ADMIN_KEY}");
    let no_key = format!("--target {url} --data /nonexistent");
    let speaks = |answer: &'static str| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let _ = stream.read(&mut [0; 1_024]);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        format!("--target http://{address}")
    };
    let (_held, nobody) = nobody();
    for (arguments, code, words) in [
        (format!("null --target http://{nobody}"), 69, "make run"),
        (format!("line {}", speaks("SSH-2.0-OpenSSH_9.2\r\n")), 69, "no Bunho"),
        (format!("line {}", speaks("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")), 69, "GET /healthz gave 404"),
        ("line --target 127.0.0.1:8080".to_string(), 64, "http://HOST:PORT"),
        ("line --target http://192.0.2.7:80".to_string(), 64, "--i-own-this-target"),
        (format!("line --zone NOBODY {with_key}"), 64, "has no zone `NOBODY`"),
        (format!("claims --offer nothing {with_key}"), 64, "has no offer `nothing`"),
        (format!("line {no_key}"), 64, "TEST_ZONE"),
        (format!("line --target {url} --admin-key bk_wrong"), 64, "not this server's"),
        (format!("line {with_key} --poll-ms 1"), 64, "must be 100 to"),
        (format!("null --target {url} --connections 4000000000"), 64, "open files"),
        (format!("null --target {url} --vus 1 --rate 5"), 64, "cannot be used with"),
        (format!("null --target {url} --duration 500ms --json /nonexistent/x"), 70, "cannot be written"),
    ] {
        let played = play(&arguments, None).await;
        assert_eq!(played.code, code, "{arguments}: {}{}", played.out, played.err);
        assert!(played.err.contains(words), "{arguments} should speak of {words:?}: {}", played.err);
    }
    // Without a key an existing zone and an existing offer will do.
    for arguments in ["line --zone TEST_ZONE --vus 5 --duration 1s", "coupon --offer welcome-coupon --total 20 --vus 5"] {
        let played = play(&format!("{arguments} {no_key}"), None).await;
        assert_eq!(played.code, 0, "{arguments}: {}{}", played.out, played.err);
    }
    assert_eq!(server.admin(reqwest::Method::POST, "zones/TEST_ZONE/pause", json!({})).await.0, 200);
    let played = play(&format!("line --zone TEST_ZONE {no_key}"), None).await;
    assert_eq!(played.code, 64);
    assert!(played.err.contains("is paused"), "{}", played.err);
    assert_eq!(play("--help", None).await.code, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_benchmark_measures_a_server_of_its_own() {
    let played = play(&format!("bench --server {} --quick --only restart", env!("CARGO_BIN_EXE_bunho")), None).await;
    assert_eq!(played.code, 0, "{}{}", played.out, played.err);
    for words in ["resident bytes of a held claim", "journal → SQLite", "2000 records to replay", "state restored"] {
        assert!(played.out.contains(words), "{words:?} is missing: {}{}", played.out, played.err);
    }
    let refused = play("bench --server /nonexistent/bunho", None).await;
    assert!(refused.code == 64 && refused.err.contains("cargo build"), "{}", refused.err);
}
