//! `bunho import`: what `bunho export` wrote, into an empty cluster.
//!
//! Events go to the topic and from there into SQL, as all events do; offers and zones go into the directory as "being recovered", and are
//! then recovered as after a loss of Redis. So a move is made of what a cluster does anyway, and one that was cut off is done again.

use crate::cli::Place;
use crate::config::{ClusterConfig, Config, Shape};
use crate::exit::{Failure, chain};
use crate::moving::{self, Counts, Line, Page, Source};
use crate::node::{ClusterNode, prepare};
use crate::secrets;
use bunho_domain::event::{Event, OfferChange, ZoneChange};
use bunho_domain::time::Millis;
use bunho_journal::Audit;
use bunho_journal::kafka::cloudevents::Content;
use bunho_journal::kafka::{Delivery, Message, Producer, ProducerOptions};
use bunho_ledger::directory::{Entry, Kind, Standing};
use bunho_ledger::{Ledger, NewKey, PageRow};
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Reads the file twice: once to know that it is whole and what there is, once to move it.
///
/// # Errors
/// The file is not whole, the cluster cannot be reached or is not empty.
pub fn run(place: &Place, file: &Path) -> Result<ExitCode, Failure> {
    super::log_warnings();
    let config = super::checked(place)?;
    let Shape::Cluster(cluster) = &config.shape else {
        return Err(Failure::configuration("engine.shape is embedded\n  mend: name the cluster to import into; see docs/cluster.md"));
    };
    let plan = Plan::read(file)?;
    println!("{}: {} events, {} offers, {} zones", file.display(), plan.counts.events, plan.offers.len(), plan.zones.len());
    super::block_on(async {
        prepare(&config.data)?;
        let began = Instant::now();
        let ledger = Ledger::open(&config.ledger).await?;
        check_empty(&ledger, &plan).await?;
        place_secrets(&config, file)?;
        let node = ClusterNode::open(&config, cluster).await?;
        check_source(&ledger, &plan, ledger.agree(SOURCE, &plan.source.installation).await?)?;
        produce(cluster, file, &plan).await?;
        println!("  {} events are in the topic after {:.1} s", plan.counts.events, began.elapsed().as_secs_f64());
        while node.catch_up().await.is_err() {
            println!("  the ledger has not got everything yet");
        }
        println!("  and in the ledger after {:.1} s", began.elapsed().as_secs_f64());
        insert_keys(&ledger, file).await?;
        insert_accounts(&ledger, file).await?;
        insert_pages(&ledger, file).await?;
        ledger.directory_import(&plan.entries(), (plan.source.offers, plan.source.zones)).await?;
        until_live(&ledger, &plan).await?;
        println!("  and in Redis after {:.1} s", began.elapsed().as_secs_f64());
        node.close().await;
        ledger.close().await;
        println!("moved: start the nodes; tickets, passes, keys, accounts and ids are what they were");
        Ok(ExitCode::SUCCESS)
    })
}

/// What there is, by number.
#[derive(Debug)]
struct Plan {
    counts: Counts,
    source: Source,
    /// Id, and the id of the offer that it grants.
    offers: BTreeMap<u32, (String, Option<String>)>,
    zones: BTreeMap<u32, String>,
}

impl Plan {
    fn read(file: &Path) -> Result<Self, Failure> {
        let mut source = None;
        let (counts, offers, zones) = (Counts::default(), BTreeMap::new(), BTreeMap::new());
        let mut plan = Self { counts, source: Source { installation: String::new(), offers: 0, zones: 0 }, offers, zones };
        plan.counts = moving::read(file, |line| {
            match line {
                Line::Source(said) => source = Some(said),
                Line::Key(key) if !key.is_sound() => return Err(Failure::data(format_args!("key {:?} is damaged", key.id))),
                Line::Account(account) if !account.is_sound() => {
                    return Err(Failure::data(format_args!("account {:?} is damaged", account.name)));
                }
                Line::Event(json) => plan.note(&read_event(json.get())?),
                _ => {}
            }
            Ok(())
        })?;
        plan.source = source
            .ok_or_else(|| Failure::data(format_args!("{} does not say where it comes from\n  mend: export again", file.display())))?;
        Ok(plan)
    }

    fn note(&mut self, event: &Event) {
        match event {
            Event::Offer(event) => {
                if let OfferChange::Defined(settings) = &event.change {
                    let grants = settings.grants.as_ref().map(|id| id.as_str().to_owned());
                    self.offers.insert(event.offer, (settings.id.as_str().to_owned(), grants));
                }
            }
            Event::Zone(event) => {
                if let ZoneChange::Defined(settings) = &event.change {
                    self.zones.insert(event.zone, settings.id.as_str().to_owned());
                }
            }
        }
    }

    fn id(&self, kind: Kind, number: u32) -> Option<&String> {
        match kind {
            Kind::Offer => self.offers.get(&number).map(|(id, _)| id),
            Kind::Zone => self.zones.get(&number),
        }
    }

    /// The key of a message: the id of what it is about.
    fn key(&self, event: &Event) -> Option<&str> {
        match event {
            Event::Offer(event) => self.offers.get(&event.offer).map(|(id, _)| id.as_str()),
            Event::Zone(event) => self.zones.get(&event.zone).map(String::as_str),
        }
    }

    /// For the directory: to be recovered by whoever comes first. Whoever grants lives with what it grants.
    fn entries(&self) -> Vec<Entry> {
        let number_of = |wanted: &str| self.offers.iter().find(|(_, (id, _))| id == wanted).map(|(number, _)| *number);
        let entry = |kind, number, id: &str, tag| Entry {
            kind,
            number,
            id: id.to_owned(),
            tag,
            epoch: 1,
            standing: Standing::Recovering,
            changed_ms: 0,
        };
        let offers = self
            .offers
            .iter()
            .map(|(number, (id, grants))| entry(Kind::Offer, *number, id, grants.as_deref().and_then(number_of).unwrap_or(*number)));
        offers.chain(self.zones.iter().map(|(number, id)| entry(Kind::Zone, *number, id, *number))).collect()
    }
}

fn read_event(json: &str) -> Result<Event, Failure> {
    match Message::decode(json.as_bytes()).map(|message| message.content) {
        Ok(Content::Event(event)) => Ok(event),
        Ok(Content::Fence { .. }) => Err(Failure::data("the export holds a fence, which only a topic has")),
        Err(error) => Err(Failure::data(format_args!("an event cannot be read: {}", chain(&error)))),
    }
}

/// Keys must be those that the tickets and passes of the old installation were signed with.
fn place_secrets(config: &Config, file: &Path) -> Result<(), Failure> {
    moving::read(file, |line| {
        let Line::Secret(secret) = line else { return Ok(()) };
        let (path, bytes) = (secret.path(&config.secrets)?, secret.bytes()?);
        match std::fs::read(&path) {
            Ok(there) if there == bytes => Ok(()),
            Ok(_) => Err(Failure::data(format_args!(
                "{} is there and is another one\n  mend: import into a cluster that has not been served yet, with an empty cluster.secrets_dir",
                path.display()
            ))),
            Err(_) => secrets::write_secret(&path, &bytes),
        }
    })
    .map(drop)
}

/// What the database calls the installation that was moved into it.
const SOURCE: &str = "moved from";

/// Numbers are given once: what is moved must find them free, or be an import of the same installation that was cut off. That one may have left
/// messages in the topic, then rows, then entries of the directory; so it said who it was before all of them.
async fn check_empty(ledger: &Ledger, plan: &Plan) -> Result<(), Failure> {
    check_source(ledger, plan, ledger.agreed(SOURCE).await?)?;
    let listed = ledger.directory().await?.entries.into_iter().map(|entry| (entry.kind, entry.number, entry.id));
    for (kind, number, id) in listed.chain(ledger.living().await?) {
        if plan.id(kind, number) != Some(&id) {
            return Err(Failure::data(format_args!(
                "the cluster has {id} already, under a number that the export gives to something else\n  mend: import into an empty cluster"
            )));
        }
    }
    Ok(())
}

fn check_source(ledger: &Ledger, plan: &Plan, agreed: Option<String>) -> Result<(), Failure> {
    match agreed {
        Some(other) if other != plan.source.installation => Err(Failure::data(format_args!(
            "an import of installation {other} was begun into {}, and this export is of {}\n  mend: import into an empty cluster, with a database, a topic and a prefix of its own",
            ledger.place(),
            plan.source.installation
        ))),
        _ => Ok(()),
    }
}

/// Messages that may wait for their acknowledgement.
const UNDER_WAY_MAX: usize = 50_000;

async fn produce(cluster: &ClusterConfig, file: &Path, plan: &Plan) -> Result<(), Failure> {
    let failed = |error: &dyn std::error::Error| {
        Failure::unavailable(format_args!("Kafka did not take an event: {}\n  mend: import again", chain(error)))
    };
    let producer = Producer::new(cluster.kafka.clone(), ProducerOptions::USUAL).map_err(|error| failed(&error))?;
    let mut under_way: VecDeque<Delivery> = VecDeque::new();
    let handle = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| {
        moving::read(file, |line| {
            let Line::Event(json) = line else { return Ok(()) };
            let event = read_event(json.get())?;
            let key = plan.key(&event).ok_or_else(|| Failure::data("an event is about something that the export does not define"))?;
            if under_way.len() >= UNDER_WAY_MAX
                && let Some(first) = under_way.pop_front()
            {
                handle.block_on(first).map_err(|error| failed(&error))?;
            }
            under_way.push_back(producer.produce_encoded(key, json.get().as_bytes()).map_err(|error| failed(&error))?);
            Ok(())
        })
    })?;
    for delivery in under_way {
        delivery.await.map_err(|error| failed(&error))?;
    }
    Ok(())
}

async fn insert_keys(ledger: &Ledger, file: &Path) -> Result<(), Failure> {
    let known = ledger.keys().await?;
    let mut keys = Vec::new();
    moving::read(file, |line| {
        if let Line::Key(key) = line {
            keys.push(key);
        }
        Ok(())
    })?;
    for key in keys.iter().filter(|key| !known.iter().any(|row| row.id == key.id)) {
        let audit = Audit { actor: "system".into(), action: "key.import".into(), target: key.id.clone(), detail: None, request_id: None };
        let (expires_at, certificate) = (key.expires_at_ms.map(Millis), key.certificate.as_deref());
        let new = NewKey { id: &key.id, role: &key.role, name: &key.name, key_hash: &key.key_hash, expires_at, certificate };
        ledger.insert_key(&new, super::key::now(), &audit).await?;
    }
    Ok(())
}

async fn insert_accounts(ledger: &Ledger, file: &Path) -> Result<(), Failure> {
    let mut accounts = Vec::new();
    moving::read(file, |line| {
        if let Line::Account(account) = line {
            accounts.push(account.row());
        }
        Ok(())
    })?;
    for row in accounts {
        let (action, target) = ("account.import".into(), row.name.clone());
        let audit = Audit { actor: "system".into(), action, target, detail: None, request_id: None };
        // One that is there is there from an import that was cut off.
        ledger.insert_account(&row, super::key::now(), &audit).await?;
    }
    Ok(())
}

async fn insert_pages(ledger: &Ledger, file: &Path) -> Result<(), Failure> {
    let mut pages = Vec::new();
    moving::read(file, |line| {
        if let Line::Page(page) = line {
            pages.push(page);
        }
        Ok(())
    })?;
    for Page { zone_number, zone_id, revision, page } in pages {
        ledger.import_page(&PageRow { zone_number, zone_id, revision, page }, super::key::now()).await?;
    }
    Ok(())
}

/// Recovery does the rest. What it finds no rows of it gives up: that must not pass for a move.
async fn until_live(ledger: &Ledger, plan: &Plan) -> Result<(), Failure> {
    let mut told = None;
    loop {
        let entries = ledger.directory().await?.entries;
        let mut gone = entries.iter().filter(|entry| entry.standing == Standing::Deleted);
        if let Some(entry) = gone.find(|entry| plan.id(entry.kind, entry.number) == Some(&entry.id)) {
            return Err(Failure::data(format_args!(
                "{} was not moved: the ledger has nothing of it\n  mend: import into an empty cluster; `bunho reconcile` and the table parked_events show what became of its events here",
                entry.id
            )));
        }
        let left = entries.iter().filter(|entry| entry.standing == Standing::Recovering).count();
        if left == 0 {
            return Ok(());
        }
        if told != Some(left) {
            println!("  {left} offers and zones are still to be loaded into Redis");
            told = Some(left);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
