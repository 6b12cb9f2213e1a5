//! Every panel of every dashboard has something to show: its queries are taken out of the JSON, variables are put in as Grafana puts them in, and a real
//! Prometheus or the real ledger answers.

use super::programs::{Running, delivered, deploy, prometheus};
use super::traffic::Traffic;
use crate::components;
use crate::harness::{Server, until};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What a description begins with where an empty panel is the good case.
const COUNTS_FAILURES: &str = "Counts failures";
/// Grafana's answer for `$__rate_interval`: four times the interval at which `prometheus.yml` scrapes.
const RATE_INTERVAL: &str = "20s";
/// A minute's row is written when the minute is over.
const FILLED_WITHIN: Duration = Duration::from_secs(150);

struct Dashboard {
    file: String,
    json: Value,
}

struct Query {
    /// Where it stands, for people.
    place: String,
    counts_failures: bool,
    text: Text,
}

enum Text {
    Prometheus(String),
    Sql(String),
}

fn dashboards() -> Vec<Dashboard> {
    let files = std::fs::read_dir(deploy().join("grafana/dashboards")).unwrap().map(|entry| entry.unwrap().path());
    let mut dashboards: Vec<_> = files
        .map(|path| Dashboard {
            file: path.file_name().unwrap().to_str().unwrap().to_owned(),
            json: serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap_or_else(|error| panic!("{path:?}: {error}")),
        })
        .collect();
    dashboards.sort_by(|a, b| a.file.cmp(&b.file));
    assert!(dashboards.len() >= 6);
    dashboards
}

impl Dashboard {
    fn panels(&self) -> &Vec<Value> {
        self.json["panels"].as_array().unwrap()
    }

    fn queries(&self) -> Vec<Query> {
        let of_panel = |panel: &Value| -> Vec<Query> {
            let targets = panel["targets"].as_array().unwrap();
            let query = |target: &Value| {
                let text = match (target["expr"].as_str(), target["rawSql"].as_str()) {
                    (Some(expression), None) => Text::Prometheus(expression.to_owned()),
                    (None, Some(sql)) => Text::Sql(sql.to_owned()),
                    _ => panic!("{target:#}"),
                };
                let counts_failures = panel["description"].as_str().unwrap().starts_with(COUNTS_FAILURES);
                Query { place: format!("{}, {}, {}", self.file, panel["title"], target["refId"]), counts_failures, text }
            };
            targets.iter().map(query).collect()
        };
        let alerts = &self.json["annotations"]["list"][0]["target"]["expr"];
        let annotation = Query {
            place: format!("{}, the alerts in its charts", self.file),
            counts_failures: true,
            text: Text::Prometheus(alerts.as_str().unwrap().to_owned()),
        };
        self.panels().iter().flat_map(of_panel).chain([annotation]).collect()
    }

    /// `label_values(metric, label)` of each variable.
    fn variables(&self) -> Vec<(String, String, String)> {
        let read = |variable: &Value| {
            let query = variable["query"]["query"].as_str().unwrap();
            let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).unwrap();
            let (metric, label) = inner.split_once(", ").unwrap();
            (variable["name"].as_str().unwrap().to_owned(), metric.to_owned(), label.to_owned())
        };
        self.json["templating"]["list"].as_array().unwrap().iter().map(read).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_panel_has_data() {
    let cluster = Arc::new(components::cluster("postgres").await);
    // The panels of the journal's disk are those of a node on its own.
    let alone = Arc::new(Server::start().await);
    let nodes: Vec<String> = cluster.urls().into_iter().chain(alone.urls()).collect();
    let prometheus = prometheus(&nodes, None).await;
    let _traffic = (Traffic::start(cluster.clone()).await, Traffic::start(alone.clone()).await);
    let (began, dashboards) = (Instant::now(), dashboards());
    loop {
        let empty = empty_panels(&dashboards, &prometheus, &cluster).await;
        if empty.is_empty() {
            break;
        }
        assert!(began.elapsed() < FILLED_WITHIN, "after {FILLED_WITHIN:?} these have nothing to show:\n{}", empty.join("\n"));
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let queries = dashboards.iter().map(|dashboard| dashboard.queries().len()).sum::<usize>();
    println!("{queries} queries of {} dashboards have data after {:?}", dashboards.len(), began.elapsed());
    until("Prometheus has no trouble with the rules", Duration::from_secs(10), async || {
        let groups = prometheus.ask("rules", &[]).await.unwrap();
        let rules = groups["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap());
        rules.clone().count() > 30 && rules.clone().all(|rule| rule["health"] == "ok")
    })
    .await;
}

/// What has nothing to show yet, and why.
async fn empty_panels(dashboards: &[Dashboard], prometheus: &Running, ledger: &Server) -> Vec<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut empty = Vec::new();
    for dashboard in dashboards {
        let mut values = BTreeMap::new();
        for (name, metric, label) in dashboard.variables() {
            let found = prometheus.ask(&format!("label/{label}/values"), &[("match[]", metric.clone())]).await.unwrap();
            let found: Vec<String> = found.as_array().unwrap().iter().map(|value| value.as_str().unwrap().to_owned()).collect();
            if found.is_empty() {
                empty.push(format!("{}, the variable {name}: no values of {label} in {metric}", dashboard.file));
            }
            values.insert(name, found);
        }
        for query in dashboard.queries() {
            let found = match &query.text {
                Text::Prometheus(expression) => samples(prometheus, &with_variables(expression, &values), now).await,
                Text::Sql(sql) => Ok(rows(ledger, sql, &values, now)),
            };
            match found {
                Ok(0) if !query.counts_failures => empty.push(query.place),
                Ok(_) => {}
                Err(error) => panic!("{}: {error}", query.place),
            }
        }
    }
    empty
}

/// Finite samples of the last five minutes.
async fn samples(prometheus: &Running, expression: &str, now: u64) -> Result<usize, String> {
    let parameters =
        [("query", expression.to_owned()), ("start", (now - 300).to_string()), ("end", now.to_string()), ("step", "5".to_owned())];
    let found = prometheus.ask("query_range", &parameters).await.map_err(|error| format!("{expression}: {error}"))?;
    let series = found["result"].as_array().unwrap().iter();
    let values = series.flat_map(|series| series["values"].as_array().unwrap()).map(|sample| sample[1].as_str().unwrap());
    Ok(values.filter(|value| value.parse::<f64>().is_ok_and(f64::is_finite)).count())
}

/// Of several values Grafana makes a choice of a regular expression.
fn with_variables(expression: &str, values: &BTreeMap<String, Vec<String>>) -> String {
    let expression = expression.replace("$__rate_interval", RATE_INTERVAL);
    let expression = values.iter().fold(expression, |text, (name, values)| {
        let values: Vec<String> = values.iter().map(|value| value.replace('.', "\\\\.")).collect();
        text.replace(&format!("${name}"), &format!("({})", values.join("|")))
    });
    assert!(!expression.contains('$'), "a variable is left in {expression}");
    expression
}

/// Rows of the last hour; a query that fails is a panic of the shell.
fn rows(ledger: &Server, sql: &str, values: &BTreeMap<String, Vec<String>>, now: u64) -> usize {
    let time = |seconds: u64| format!("'{}'", jiff::Timestamp::from_second(seconds.cast_signed()).unwrap());
    let sql = sql.replace("$__timeFrom()", &time(now - 3_600)).replace("$__timeTo()", &time(now));
    let sql = values.iter().fold(sql, |text, (name, values)| {
        let values: Vec<String> = values.iter().map(|value| format!("'{value}'")).collect();
        // Before the first value is there nothing is chosen.
        text.replace(&format!("${name}"), if values.is_empty() { "''".to_owned() } else { values.join(",") }.as_str())
    });
    assert!(!sql.contains('$'), "a variable or macro is left in {sql}");
    ledger.sql(&sql).lines().filter(|row| !row.is_empty()).count()
}

/// What Grafana does not say before somebody looks at an empty square.
#[test]
fn dashboards_are_what_grafana_reads() {
    let sources = delivered("grafana/provisioning/datasources/bunho.yaml");
    let mut names = BTreeSet::new();
    for dashboard in dashboards() {
        let (file, json) = (&dashboard.file, &dashboard.json);
        assert_eq!(format!("{}.json", json["uid"].as_str().unwrap()), *file);
        assert!(names.insert(json["title"].to_string()), "{file}: the title is another's, too");
        assert!(json["schemaVersion"].as_u64().unwrap() >= 39 && json["id"].is_null(), "{file}");
        let variables: Vec<_> = dashboard.variables().into_iter().map(|(name, _, _)| name).collect();
        let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
        for panel in dashboard.panels() {
            let title = panel["title"].as_str().unwrap();
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{file}, {title}: the id is another's, too");
            assert!(panel["description"].as_str().is_some_and(|text| text.len() > 10), "{file}, {title}: no description");
            assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{file}, {title}: no unit");
            assert!(["timeseries", "stat", "table", "state-timeline"].contains(&panel["type"].as_str().unwrap()), "{file}, {title}");
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
            assert!(x + w <= 24, "{file}, {title}: wider than the page");
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                assert!(taken.insert(cell), "{file}, {title}: lies on another panel");
            }
            for target in panel["targets"].as_array().unwrap() {
                assert_eq!(target["datasource"], panel["datasource"], "{file}, {title}");
                let uid = panel["datasource"]["uid"].as_str().unwrap();
                assert!(sources.contains(&format!("uid: {uid}\n")), "{file}, {title}: {uid} is not provisioned");
            }
        }
        let queries = dashboard.json["panels"].to_string();
        for name in variables {
            assert!(queries.contains(&format!("${name}")), "{file}: the variable {name} is used nowhere");
        }
    }
}

/// A name that nobody writes is a panel that stays empty and an alert that never fires.
#[test]
fn every_metric_of_rules_and_panels_is_written() {
    let rules = delivered("prometheus/rules/bunho.yaml");
    let (sources, documented) = (sources(&deploy().join("../crates/server/src")), delivered("../docs/metrics.md"));
    let recorded: BTreeSet<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- record: ")).collect();
    let panels: String = dashboards().iter().flat_map(Dashboard::queries).fold(String::new(), |text, query| match query.text {
        Text::Prometheus(expression) => text + &expression + "\n",
        Text::Sql(_) => text,
    });
    // Of rules their expressions alone.
    let expressions: String =
        rules.lines().filter(|line| line.starts_with("        expr: ") || line.starts_with("          ")).collect::<Vec<_>>().join("\n");
    let mut unknown = BTreeSet::new();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words: BTreeSet<&str> = panels.lines().chain(expressions.lines()).flat_map(|line| line.split(|c| !is_name(c))).collect();
    for word in words {
        let is_recorded = word.contains(":bunho_") || word.starts_with("bunho:");
        let is_written = word.starts_with("bunho_") || word.starts_with("process_");
        let name = ["_bucket", "_sum", "_count"].iter().find_map(|part| word.strip_suffix(part)).unwrap_or(word);
        // Those of the process come from a library.
        let is_known =
            sources.contains(&format!("\"{name}\"")) || name.starts_with("process_") && documented.contains(&format!("`{name}`"));
        if (is_recorded && !recorded.contains(word)) || (!is_recorded && is_written && !is_known) {
            unknown.insert(word.to_owned());
        }
    }
    assert!(unknown.is_empty(), "neither the server nor a recording rule writes {unknown:?}");
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        let link = format!("docs/runbook.md#{}'", alert.to_lowercase());
        assert_eq!(rules.matches(&link).count(), 1, "{alert} points to {link}");
    }
}

/// All of the program's text below a folder.
fn sources(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.fold(String::new(), |text, path| match path.extension() {
        Some(extension) if extension == "rs" => text + &std::fs::read_to_string(&path).unwrap(),
        None if path.is_dir() => text + &sources(&path),
        _ => text,
    })
}
