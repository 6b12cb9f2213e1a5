//! The process in which a strategy runs: attempts come in on standard input, a line each, and answers go out on standard output.

use crate::job::{Answer, Job, Line};
use crate::strategies::kafka::Tail;
use crate::strategies::redis::flush;
use crate::strategies::{Failure, World};
use crate::strategy::Strategy;
use std::io::{ErrorKind, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::{JoinHandle, LocalSet, spawn_local};

/// The line that ends the attempts.
pub const END: &str = "end";
/// How often what waits in Redis is written to SQL.
const FLUSH_EVERY: Duration = Duration::from_millis(100);
/// Errors that are told; more of them say the same.
const TOLD_MAX: usize = 5;

/// Works until its input ends.
///
/// # Errors
/// What it needs is not there.
pub fn work() -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    LocalSet::new().block_on(&runtime, serve())
}

async fn serve() -> Result<(), String> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let job = lines.next_line().await.map_err(|error| error.to_string())?.ok_or("no job")?;
    let job: Job = serde_json::from_str(&job).map_err(|error| error.to_string())?;
    let strategy = Strategy::named(&job.strategy).ok_or("no such strategy")?;
    let world = Rc::new(World::open(job, strategy).await.map_err(|error| error.to_string())?);
    let stop = Arc::new(AtomicBool::new(false));
    let background = background(&world, &stop)?;
    say(Line::Ready)?;
    attempts(&world, &mut lines).await?;
    stop.store(true, Ordering::Relaxed);
    if let Some(kafka) = &world.kafka {
        // Nothing else is under way but the consumer, which polls on a thread of its own.
        kafka.flush();
    }
    if let Some(background) = background {
        background.await.map_err(|error| error.to_string())?;
    }
    say(Line::Drained(world.trips()))
}

async fn attempts(world: &Rc<World>, lines: &mut Lines<BufReader<Stdin>>) -> Result<(), String> {
    let (sender, mut told) = unbounded_channel::<Failure>();
    let teller = spawn_local(async move {
        let mut count = 0;
        while let Some(failure) = told.recv().await {
            count += 1;
            if count <= TOLD_MAX {
                eprintln!("bunho-lab: an attempt failed: {failure}");
            }
        }
    });
    let mut open = tokio::task::JoinSet::new();
    while let Some(line) = lines.next_line().await.map_err(|error| error.to_string())? {
        if line == END {
            break;
        }
        let mut words = line.split(' ');
        let (Some(Ok(attempt)), Some(Ok(user))) = (words.next().map(str::parse::<usize>), words.next().map(str::parse::<i64>)) else {
            return Err(format!("no attempt: {line}"));
        };
        open.spawn_local(one(world.clone(), attempt, user, sender.clone()));
        while open.try_join_next().is_some() {}
    }
    open.join_all().await;
    drop(sender);
    teller.await.map_err(|error| error.to_string())
}

async fn one(world: Rc<World>, attempt: usize, user: i64, failures: UnboundedSender<Failure>) {
    let answer = match world.attempt(user, attempt).await {
        Ok(answer) => answer,
        Err(failure) => {
            let _ = failures.send(failure);
            Answer::Failed
        }
    };
    // Nobody reads any more: there is nobody to tell.
    let _ = say(Line::Answered { attempt, answer, trips: world.trips() });
}

/// What goes on beside the attempts, until it is told to stop and has nothing left to do.
fn background(world: &Rc<World>, stop: &Arc<AtomicBool>) -> Result<Option<JoinHandle<()>>, String> {
    let (world, stop) = (world.clone(), stop.clone());
    Ok(match world.strategy {
        Strategy::LockWriteBack => Some(spawn_local(write_back(world, stop))),
        Strategy::LuaKafkaUnawaited | Strategy::LuaKafkaAwaited => {
            let tail = Tail::open(&world.job)?;
            Some(spawn_local(consume(world, tail, stop)))
        }
        _ => None,
    })
}

async fn write_back(world: Rc<World>, stop: Arc<AtomicBool>) {
    let mut tries_left = 100;
    loop {
        let last = stop.load(Ordering::Relaxed);
        match flush(&world).await {
            Ok(0) if last => return,
            Ok(0) => tokio::time::sleep(FLUSH_EVERY).await,
            Ok(_) => {}
            Err(failure) => {
                tries_left -= i32::from(last);
                if tries_left == 0 {
                    return eprintln!("bunho-lab: orders stay in Redis: {failure}");
                }
                tokio::time::sleep(FLUSH_EVERY).await;
            }
        }
    }
}

async fn consume(world: Rc<World>, mut tail: Tail, stop: Arc<AtomicBool>) {
    let mut stopped: Option<Instant> = None;
    loop {
        if stop.load(Ordering::Relaxed) {
            stopped.get_or_insert_with(Instant::now);
        }
        // Polling Kafka blocks, and so does the question how far it goes.
        let next = tokio::task::spawn_blocking(move || {
            let users = tail.batch();
            let done = users.is_empty() && stopped.is_some_and(|since| tail.at_end(since));
            (tail, users, done)
        });
        let (back, users, done) = match next.await {
            Ok(next) => next,
            Err(error) => return eprintln!("bunho-lab: the consumer ended: {error}"),
        };
        tail = back;
        if done {
            return;
        }
        if users.is_empty() {
            continue;
        }
        while let Err(error) = write(&world, &users).await {
            eprintln!("bunho-lab: the consumer tries again: {error}");
            tokio::time::sleep(FLUSH_EVERY).await;
        }
        tail = match tokio::task::spawn_blocking(move || {
            tail.keep();
            tail
        })
        .await
        {
            Ok(tail) => tail,
            Err(error) => return eprintln!("bunho-lab: the consumer ended: {error}"),
        };
    }
}

async fn write(world: &World, users: &[i64]) -> Result<(), Failure> {
    world.sql()?.insert_orders(users).await?;
    Ok(())
}

fn say(line: Line) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    match out.write_all(line.write().as_bytes()).and_then(|()| out.flush()) {
        // The driver is gone: so is the run.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        other => other.map_err(|error| error.to_string()),
    }
}
