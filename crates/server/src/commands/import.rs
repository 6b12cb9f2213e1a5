//! `bunho import`: what `bunho export` wrote, into an empty cluster.
//!
//! Events go to the topic and from there into SQL, as all events do; offers and zones go into the directory as "being recovered", and are
//! then recovered as after a loss of Redis. So a move is made of what a cluster does anyway, and one that was cut off is done again.

use crate::cli::Place;
use crate::config::{ClusterConfig, Config, Shape};
use crate::exit::{Failure, chain};
use crate::moving::{self, Counts, Line};
use crate::node::{ClusterNode, prepare};
use crate::secrets;
use bunho_domain::event::{Event, OfferChange, ZoneChange};
use bunho_journal::Audit;
use bunho_journal::kafka::cloudevents::Content;
use bunho_journal::kafka::{Delivery, Message, Producer, ProducerOptions};
use bunho_ledger::directory::{Entry, Kind, Standing};
use bunho_ledger::{Ledger, NewKey};
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
        place_secrets(&config, file)?;
        let ledger = Ledger::open(&config.ledger).await?;
        check_empty(&ledger, &plan).await?;
        let node = ClusterNode::open(&config, cluster).await?;
        produce(cluster, file, &plan).await?;
        println!("  {} events are in the topic after {:.1} s", plan.counts.events, began.elapsed().as_secs_f64());
        while node.catch_up().await.is_err() {
            println!("  the ledger has not got everything yet");
        }
        println!("  and in the ledger after {:.1} s", began.elapsed().as_secs_f64());
        insert_keys(&ledger, file).await?;
        ledger.directory_import(&plan.entries()).await?;
        until_live(&ledger).await?;
        println!("  and in Redis after {:.1} s", began.elapsed().as_secs_f64());
        node.close().await;
        ledger.close().await;
        println!("moved: start the nodes; tickets, passes, keys and ids are what they were");
        Ok(ExitCode::SUCCESS)
    })
}

/// What there is, by number.
#[derive(Debug, Default)]
struct Plan {
    counts: Counts,
    /// Id, and the id of the offer that it grants.
    offers: BTreeMap<u32, (String, Option<String>)>,
    zones: BTreeMap<u32, String>,
}

impl Plan {
    fn read(file: &Path) -> Result<Self, Failure> {
        let mut plan = Self::default();
        plan.counts = moving::read(file, |line| {
            match line {
                Line::Key(key) if !key.is_sound() => return Err(Failure::data(format_args!("key {:?} is damaged", key.id))),
                Line::Event(json) => plan.note(&read_event(json.get())?),
                _ => {}
            }
            Ok(())
        })?;
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

/// Numbers are given once: what is moved must find them free, or be an import of the same file that was cut off.
async fn check_empty(ledger: &Ledger, plan: &Plan) -> Result<(), Failure> {
    for entry in ledger.directory().await?.entries {
        let ours = match entry.kind {
            Kind::Offer => plan.offers.get(&entry.number).map(|(id, _)| id),
            Kind::Zone => plan.zones.get(&entry.number),
        };
        if ours != Some(&entry.id) {
            return Err(Failure::data(format_args!(
                "the cluster has {} already, under a number that the export gives to something else\n  mend: import into an empty cluster",
                entry.id
            )));
        }
    }
    Ok(())
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
        ledger
            .insert_key(&NewKey { id: &key.id, role: &key.role, name: &key.name, key_hash: &key.key_hash }, super::key::now(), &audit)
            .await?;
    }
    Ok(())
}

/// Recovery does the rest.
async fn until_live(ledger: &Ledger) -> Result<(), Failure> {
    let mut told = None;
    loop {
        let left = ledger.directory().await?.entries.iter().filter(|entry| entry.standing == Standing::Recovering).count();
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
