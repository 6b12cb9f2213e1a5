//! The shared connections, and the sleep between what comes on them and what is due.

use super::connection::{Connection, Life, Received};
use super::world::World;
use super::{Drive, connect, now_us};
use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime};
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A connection unused for so long is opened anew: shortly after, the other side may close it (a Bunho does so after 5 s),
/// and a call sent into that would be lost.
const IDLE_US_MAX: u64 = 4_000_000;
/// A call unanswered for so long will not be: a Bunho answers everything within ten seconds.
const ANSWER_US_MAX: u64 = 30_000_000;
/// After a connection could not be opened.
const RECONNECT_US: u64 = 50_000;
/// Answers of lines and claims are below a kilobyte.
const SCRATCH_BYTES: usize = 64 * 1_024;
const TIMER: Token = Token(usize::MAX);

/// All connections.
pub(super) struct Wires {
    address: SocketAddr,
    pipeline: usize,
    poll: Poll,
    events: Events,
    timer: OwnedFd,
    /// When the timer goes off, if that has not been yet.
    armed_us: u64,
    connections: Vec<Connection>,
    /// Connections that can take a call; the last one first, so that few are busy where few suffice.
    ready: Vec<u32>,
    /// Connections that may be closed: to be opened when calls wait.
    closed: Vec<u32>,
    flights: usize,
    open: usize,
    /// Since when no connection could be opened where none is open; 0: not so.
    down_since_us: u64,
    scratch: Vec<u8>,
}

impl Wires {
    pub(super) fn open(drive: &Drive) -> io::Result<Self> {
        let poll = Poll::new()?;
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        let mut connections = Vec::with_capacity(drive.connections);
        for index in 0..drive.connections {
            let mut stream = TcpStream::from_std(connect(drive.address)?);
            poll.registry().register(&mut stream, Token(index), Interest::READABLE | Interest::WRITABLE)?;
            connections.push(Connection::open(stream));
        }
        Ok(Self {
            address: drive.address,
            pipeline: drive.pipeline.max(1),
            poll,
            events: Events::with_capacity(1_024),
            timer,
            armed_us: 0,
            ready: (0..drive.connections as u32).rev().collect(),
            closed: Vec::new(),
            open: connections.len(),
            connections,
            flights: 0,
            down_since_us: 0,
            scratch: vec![0; SCRATCH_BYTES],
        })
    }

    /// Calls under way.
    pub(super) const fn flights(&self) -> usize {
        self.flights
    }

    /// How long it has been impossible to open one.
    pub(super) const fn unreachable_us(&self, now: u64) -> u64 {
        if self.down_since_us == 0 { 0 } else { now.saturating_sub(self.down_since_us) }
    }

    /// Sends what is due while connections are free.
    pub(super) fn dispatch(&mut self, clock: Instant, world: &mut World) {
        while !world.queue_is_empty() {
            let now = now_us(clock);
            let Some(index) = self.ready.pop() else { break };
            let connection = &mut self.connections[index as usize];
            connection.listed = false;
            if connection.flights.is_empty() && now.saturating_sub(connection.used_us) > IDLE_US_MAX {
                self.shut(index, now, 0, world);
                continue;
            }
            self.send(index, now, world);
        }
        if !world.queue_is_empty() && !self.closed.is_empty() {
            self.reopen(now_us(clock));
        }
    }

    /// Fills a connection with what is due and sends it in one piece: what a crowded turn has gathered then costs one packet
    /// where a quiet one sends each call for itself.
    fn send(&mut self, index: u32, now: u64, world: &mut World) {
        let connection = &mut self.connections[index as usize];
        while connection.flights.len() < self.pipeline {
            let Some(flight) = world.request(now, connection.output()) else { break };
            connection.flights.push_back(flight);
            self.flights += 1;
        }
        if connection.flights.len() < self.pipeline && !connection.listed {
            connection.listed = true;
            self.ready.push(index);
        }
        if connection.flush().is_err() {
            self.shut(index, now, RECONNECT_US, world);
        }
    }

    /// Sleeps until something comes, or `until_us`.
    pub(super) fn wait(&mut self, clock: Instant, until_us: u64) -> io::Result<()> {
        let now = now_us(clock);
        let timeout = if until_us <= now {
            Duration::ZERO
        } else {
            // An alarm that is set and comes early enough is left as it is: setting one is a system call.
            if self.armed_us <= now || self.armed_us > until_us {
                let wait = until_us - now;
                let value = Timespec { tv_sec: (wait / 1_000_000) as i64, tv_nsec: (wait % 1_000_000 * 1_000) as i64 };
                let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
                timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
                self.armed_us = until_us;
            }
            Duration::from_millis(10)
        };
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            polled => polled,
        }
    }

    /// Takes in what came, and sends at once what waits for the connections that it frees.
    pub(super) fn receive(&mut self, clock: Instant, world: &mut World) {
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            if event.token() == TIMER {
                continue;
            }
            let index = event.token().0 as u32;
            if self.connections[index as usize].life == Life::Connecting && (event.is_writable() || event.is_error()) {
                self.connected(index, now_us(clock), world);
            }
            if event.is_writable() && self.connections[index as usize].flush().is_err() {
                self.shut(index, now_us(clock), RECONNECT_US, world);
            }
            if event.is_readable() || event.is_read_closed() {
                self.read(index, clock, world);
            }
        }
        self.events = events;
    }

    fn read(&mut self, index: u32, clock: Instant, world: &mut World) {
        let connection = &mut self.connections[index as usize];
        if connection.life != Life::Open {
            return;
        }
        let (mut answers, mut last_us) = (0, 0);
        let received = connection.receive(&mut self.scratch, |flight, answer| {
            last_us = now_us(clock);
            answers += 1;
            world.answered(flight, answer, last_us);
        });
        self.flights -= answers;
        if answers > 0 {
            connection.used_us = last_us;
        }
        if let Received::Ended(why) = received {
            if let Some(why) = why {
                world.meter.fault(format!("an answer could not be read: {why}"));
            }
            self.shut(index, now_us(clock), 0, world);
        } else if !connection.listed && connection.flights.len() < self.pipeline {
            if world.queue_is_empty() {
                connection.listed = true;
                self.ready.push(index);
            } else {
                self.send(index, now_us(clock), world);
            }
        }
    }

    /// Gives up on calls that have been under way for too long.
    pub(super) fn expire(&mut self, now: u64, world: &mut World) {
        for index in 0..self.connections.len() {
            let oldest = self.connections[index].flights.front();
            if oldest.is_some_and(|flight| now.saturating_sub(flight.sent_us) > ANSWER_US_MAX) {
                self.shut(index as u32, now, 0, world);
            }
        }
    }

    /// The run is over: what is under way is not awaited any longer.
    pub(super) fn abandon(&mut self, now: u64, world: &mut World) {
        for index in 0..self.connections.len() {
            if !self.connections[index].flights.is_empty() {
                self.shut(index as u32, now, 0, world);
            }
        }
    }

    fn shut(&mut self, index: u32, now: u64, pause_us: u64, world: &mut World) {
        let connection = &mut self.connections[index as usize];
        if connection.life == Life::Open {
            self.open -= 1;
        }
        if connection.listed {
            connection.listed = false;
            self.ready.retain(|ready| *ready != index);
        }
        let flights = connection.close(now + pause_us);
        self.flights -= flights.len();
        self.closed.push(index);
        for flight in flights {
            world.unanswered(flight, now);
        }
    }

    /// Opens closed connections again, those whose pause is over.
    fn reopen(&mut self, now: u64) {
        let Self { closed, connections, poll, address, down_since_us, open, .. } = self;
        closed.retain(|index| {
            let connection = &mut connections[*index as usize];
            if matches!(connection.life, Life::Closed { retry_us } if retry_us > now) {
                return true;
            }
            let opened = TcpStream::connect(*address).and_then(|mut stream| {
                stream.set_nodelay(true)?;
                poll.registry().register(&mut stream, Token(*index as usize), Interest::READABLE | Interest::WRITABLE)?;
                Ok(stream)
            });
            match opened {
                Ok(stream) => {
                    connection.stream = Some(stream);
                    connection.life = Life::Connecting;
                    connection.used_us = now;
                    false
                }
                Err(_) => {
                    connection.life = Life::Closed { retry_us: now + RECONNECT_US };
                    if *open == 0 && *down_since_us == 0 {
                        *down_since_us = now.max(1);
                    }
                    true
                }
            }
        });
    }

    /// An attempt to connect has come to an end.
    fn connected(&mut self, index: u32, now: u64, world: &mut World) {
        let connection = &mut self.connections[index as usize];
        let Some(stream) = &connection.stream else { return };
        if stream.take_error().is_ok_and(|error| error.is_none()) && stream.peer_addr().is_ok() {
            connection.life = Life::Open;
            connection.used_us = now;
            connection.listed = true;
            self.ready.push(index);
            self.open += 1;
            self.down_since_us = 0;
        } else {
            if self.open == 0 && self.down_since_us == 0 {
                self.down_since_us = now.max(1);
            }
            self.shut(index, now, RECONNECT_US, world);
        }
    }
}
