//! The handle that engine, projector and server share.

use crate::JournalError;
use crate::chunk::RECORD_BYTES_MAX;
use crate::committer;
use crate::crash_point;
use crate::folder::Folder;
use crate::inspect::{Damage, Found, inspect};
use crate::measure::{SIZES, Spread, TIMES_US};
use crate::pending::{Batch, Commit, Fate, Pending, Pushed, State};
use crate::storage::Storage;
use crate::store::{Kept, Store};
use crate::wire::{Audit, Record, RecordRef};
use crate::witness::{self, Told, Witness};
use bunho_domain::event::Event;
use bunho_domain::time::Millis;
use parking_lot::{Condvar, Mutex};
use std::cell::RefCell;
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use tokio::sync::{SetOnce, watch};

/// Records stored as one value; reading one record reads at most this many.
pub const BATCH_RECORDS_MAX: usize = 4_096;

/// Bytes stored as one value: 4,096 records of 256 bytes. A busier moment writes several values before one sync.
pub const BATCH_BYTES_MAX: usize = BATCH_RECORDS_MAX * 256;

/// How a journal stores.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Records stored as one value.
    pub batch_records_max: usize,
    /// Bytes stored as one value; a longer record is stored alone.
    pub batch_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { batch_records_max: BATCH_RECORDS_MAX, batch_bytes_max: BATCH_BYTES_MAX }
    }
}

/// An open journal. Clones share it; dropping the last one closes it.
#[derive(Clone)]
pub struct Journal(Arc<Owner>);

/// Ends the committer with the last handle; the committer itself holds only [`Shared`].
struct Owner {
    shared: Arc<Shared>,
    committer: Mutex<Option<JoinHandle<()>>>,
}

/// What handles and the committer share.
pub(crate) struct Shared {
    pub(crate) store: Storage,
    pub(crate) pending: Mutex<Pending>,
    /// Told that a batch has its first record, or that the journal closes.
    pub(crate) work: Condvar,
    pub(crate) durable: AtomicU64,
    pub(crate) watch: watch::Sender<u64>,
    pub(crate) pressure: AtomicUsize,
    trimmed: AtomicU64,
    trimming: Mutex<()>,
    pub(crate) figures: Figures,
    /// Poisoned or closed.
    ended: SetOnce<Fate>,
}

/// How batches went. Only the committer counts.
#[derive(Debug)]
pub struct Figures {
    /// Records that became durable by one sync.
    pub batch_records: Spread,
    /// Microseconds that a sync took.
    pub sync_us: Spread,
}

thread_local! {
    /// Records are encoded here and copied, so that the mutex which all offers share is held for a copy only.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Journal {
    /// Opens the journal in `dir`, creating it where there is none. Blocks, reads everything kept once.
    ///
    /// What an earlier failure refused is removed first, and everything is on disk before this returns.
    ///
    /// # Errors
    /// [`JournalError::Locked`] where it is open elsewhere; [`JournalError::Corrupt`] where records are missing.
    pub fn open(dir: &Path) -> Result<Self, JournalError> {
        Self::open_with(dir, Options::default())
    }

    /// As [`Self::open`], with other bounds.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(dir: &Path, options: Options) -> Result<Self, JournalError> {
        let folder = Folder::lock(dir)?;
        crash_point!("journal::locked");
        let earlier = witnessed(&folder)?;
        let told = earlier.clone().unwrap_or_default();
        let refused = folder.marked(told.acknowledged)?;
        let mut found = inspect(&folder, &told, Damage::Refuse)?;
        if let Some(refused) = refused {
            remove_refused(&folder, found, refused)?;
            found = inspect(&folder, &told, Damage::Refuse)?;
        }
        if let Err(error) = folder.sync_store() {
            // A second attempt would be told that all is well. Nothing was refused, but the files are not to be trusted.
            if let Err(error) = folder.mark(u64::MAX) {
                tracing::error!(error = &error as &dyn std::error::Error, "the journal's failure could not be marked");
            }
            return Err(error);
        }
        crash_point!("journal::store_synced");
        let (store, kept) = found.checked(&folder, open_whole(&folder.store()))?;
        crash_point!("journal::store_opened");
        folder.keep_room_for_marker()?;
        crash_point!("journal::room_kept");
        let witness = Witness::open(folder.dir(), earlier, kept.last)?;
        tracing::info!(trimmed = kept.trimmed, last = kept.last, "the journal in {} is open", dir.display());
        let shared = Arc::new(Shared::new(Storage::Fjall { store, folder, witness }, kept, options));
        let for_committer = Arc::clone(&shared);
        let committer = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || committer::run(&for_committer))
            .map_err(JournalError::io("start the committer of", dir))?;
        Ok(Self(Arc::new(Owner { shared, committer: Mutex::new(Some(committer)) })))
    }

    /// Opens the journal on a disk in memory. What it appends is written when the committer is stepped, and only then.
    ///
    /// # Errors
    /// [`JournalError::Corrupt`] where records are missing.
    #[cfg(feature = "simulation")]
    pub fn simulated(disk: &crate::simulated::Disk, options: Options) -> Result<(Self, crate::simulated::Committer), JournalError> {
        let kept = disk.open()?;
        let shared = Arc::new(Shared::new(Storage::Simulated(disk.clone()), kept, options));
        let committer = crate::simulated::Committer::new(Arc::clone(&shared));
        Ok((Self(Arc::new(Owner { shared, committer: Mutex::new(None) })), committer))
    }

    /// Discards the content of the journal in `dir`; the next record will be `after + 1`.
    ///
    /// # Errors
    /// [`JournalError::Locked`] where it is open.
    pub fn reset(dir: &Path, after: u64) -> Result<(), JournalError> {
        let folder = Folder::lock(dir)?;
        let new = Store::open(&folder.new_store()?)?;
        new.set_trimmed(after)?;
        crash_point!("journal::reset_written");
        drop(new);
        // First, so that a crash in between leaves a witness that says less than the store holds.
        witness::rewrite(dir, after)?;
        folder.replace_store()
    }

    /// Last record that is known to have been acknowledged by the journal in `dir`, whether or not it can be opened. None: not known.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn acknowledged(dir: &Path) -> Result<Option<u64>, JournalError> {
        Ok(Told::read(dir)?.map(|told| told.acknowledged))
    }

    /// Gives up what damage has taken from the end of the journal in `dir`, so that what is before it can be read again. Where that
    /// is not enough, opening goes on to say why.
    ///
    /// # Errors
    /// [`JournalError::Locked`] where it is open; [`JournalError::Corrupt`] where the damage is elsewhere.
    pub fn accept_loss(dir: &Path) -> Result<(), JournalError> {
        let folder = Folder::lock(dir)?;
        let nothing = Told::default();
        inspect(&folder, &nothing, Damage::Cut)?;
        witness::rewrite(dir, 0)
    }

    /// The latest time that is known to have been told, at least; zero where none is known.
    #[must_use]
    pub fn time_told(&self) -> Millis {
        self.0.shared.store.time()
    }

    /// Notes that the clock has told this time. Writes a few bytes and syncs nothing.
    pub fn note_time(&self, now: Millis) {
        self.0.shared.store.note_time(now);
    }

    /// Times in records up to this are known to come from a clock that was ahead; zero where none are.
    #[must_use]
    pub fn disbelieved(&self) -> Millis {
        self.0.shared.store.disbelieved()
    }

    /// Notes that the clock was ahead: times up to `latest` are not believed any more, and it is `now`.
    ///
    /// # Errors
    /// It could not be written.
    pub fn disbelieve(&self, latest: Millis, now: Millis) -> Result<(), JournalError> {
        self.0.shared.store.disbelieve(latest, now)
    }

    /// Appends one record to the open batch and returns at once; never waits for the disk.
    ///
    /// The caller holds the lock under which it decided, so that records stand in the order of the decisions.
    pub fn append(&self, at: Millis, events: &[Event], audit: Option<&Audit>) -> Commit {
        let shared = &*self.0.shared;
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.clear();
            let encoded = RecordRef { at, events, audit }.encode(scratch);
            if encoded.is_err() || scratch.len() > RECORD_BYTES_MAX {
                // The state has changed and its record cannot be kept: a bug, and the end of what may be promised.
                tracing::error!(?encoded, bytes = scratch.len(), "a record cannot be encoded");
                shared.poison(None);
            }
            let (commit, pushed) = {
                let mut pending = shared.pending.lock();
                let (commit, pushed) = pending.push(scratch);
                if pushed != Pushed::Refused {
                    // Under the lock, so that the committer cannot take it off before it is put on.
                    shared.pressure.fetch_add(scratch.len(), Ordering::Relaxed);
                }
                (commit, pushed)
            };
            if pushed == Pushed::First {
                shared.work.notify_one();
            }
            commit
        })
    }

    /// Last durable offset; 0 where there was never a record.
    #[must_use]
    pub fn durable(&self) -> u64 {
        self.0.shared.durable.load(Ordering::Acquire)
    }

    /// Last offset given out.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.0.shared.pending.lock().last()
    }

    /// First record that can be read; none where all were trimmed, or there was never one.
    #[must_use]
    pub fn oldest(&self) -> Option<u64> {
        let trimmed = self.0.shared.trimmed.load(Ordering::Acquire);
        (trimmed < self.durable()).then_some(trimmed + 1)
    }

    /// Bytes appended and not yet durable: how far the disk is behind.
    #[must_use]
    pub fn pressure(&self) -> usize {
        self.0.shared.pressure.load(Ordering::Relaxed)
    }

    /// How batches went since it was opened.
    #[must_use]
    pub fn figures(&self) -> &Figures {
        &self.0.shared.figures
    }

    /// Waits until the record `offset` and all before it are durable. One that was not appended yet is waited for.
    ///
    /// # Errors
    /// [`JournalError::Poisoned`] or [`JournalError::Closed`]: it will not be.
    pub async fn durable_at_least(&self, offset: u64) -> Result<(), JournalError> {
        if self.durable() >= offset {
            return Ok(());
        }
        let shared = &*self.0.shared;
        let batch = shared.pending.lock().batch_of(offset);
        if let Some(batch) = batch {
            return batch.wait().await.result();
        }
        let mut durable = shared.watch.subscribe();
        tokio::select! {
            biased;
            _ = durable.wait_for(|&durable| durable >= offset) => Ok(()),
            fate = shared.ended.wait() => if self.durable() >= offset { Ok(()) } else { fate.result() },
        }
    }

    /// Follows the last durable offset.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.0.shared.watch.subscribe()
    }

    /// Durable records after `after`, in order without gaps, at most `most_records`; fewer where they are large, and none only
    /// where there are none. Blocks on the disk.
    ///
    /// # Errors
    /// [`JournalError::Trimmed`], [`JournalError::Corrupt`] and [`JournalError::Undecodable`] say what cannot be had.
    pub fn read(&self, after: u64, most_records: usize) -> Result<Vec<(u64, Record)>, JournalError> {
        let shared = &*self.0.shared;
        shared.store.read(after, self.durable(), most_records, || shared.trimmed.load(Ordering::Acquire))
    }

    /// Forgets records up to `upto`, as far as they were stored as one value with none after it. Writes a few bytes for
    /// each value and syncs nothing: a crash may bring forgotten records back. Blocks on the disk, for seconds where
    /// gigabytes are given back.
    ///
    /// # Errors
    /// [`JournalError::Poisoned`], or what the store said.
    pub fn trim(&self, upto: u64) -> Result<(), JournalError> {
        let shared = &*self.0.shared;
        let upto = upto.min(self.durable());
        let _one_at_a_time = shared.trimming.lock();
        let mut trimmed = shared.trimmed.load(Ordering::Acquire);
        loop {
            if self.poisoned() {
                return Err(JournalError::Poisoned);
            }
            match shared.store.trim(trimmed, upto, |new| shared.trimmed.store(new, Ordering::Release))? {
                Some(new) => trimmed = new,
                None => return shared.store.reclaim(),
            }
        }
    }

    /// Leaves nothing of the records that were trimmed in the files, which else happens when they are worth it. False: not all of
    /// it could go now. Blocks on the disk: it writes 64 MB and what is kept. Ask [`Self::erase_room`] first: a disk that is full poisons the journal.
    ///
    /// # Errors
    /// [`JournalError::Poisoned`], or what the store said.
    pub fn erase_trimmed(&self) -> Result<bool, JournalError> {
        let shared = &*self.0.shared;
        let _one_at_a_time = shared.trimming.lock();
        if self.poisoned() { Err(JournalError::Poisoned) } else { shared.store.erase_trimmed() }
    }

    /// The folder in which [`Self::erase_trimmed`] writes, and how many bytes must be free on its disk for that, beside what records need meanwhile.
    /// None: it writes nothing.
    #[must_use]
    pub fn erase_room(&self) -> Option<(&Path, u64)> {
        self.0.shared.store.erase_room()
    }

    /// Whether a write has failed; nothing is taken any more.
    #[must_use]
    pub fn poisoned(&self) -> bool {
        self.0.shared.ended.get() == Some(&Fate::Poisoned)
    }

    /// Waits until a write fails; for ever, where none does.
    pub async fn until_poisoned(&self) {
        if *self.0.shared.ended.wait().await != Fate::Poisoned {
            std::future::pending().await
        }
    }

    /// Writes what was appended, takes nothing more, and waits until that is done. Reading goes on; the folder is given
    /// back when the last handle is dropped. Blocks on the disk.
    pub fn close(&self) {
        self.0.close();
    }
}

impl Owner {
    fn close(&self) {
        {
            let mut pending = self.shared.pending.lock();
            if pending.state == State::Running {
                pending.state = State::Closing;
            }
        }
        crash_point!("journal::closing");
        self.shared.work.notify_one();
        if let Some(committer) = self.committer.lock().take() {
            // It catches its own panics.
            committer.join().ok();
            self.shared.store.close();
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn new(store: Storage, Kept { trimmed, last }: Kept, options: Options) -> Self {
        Self {
            store,
            pending: Mutex::new(Pending::new(last + 1, options)),
            work: Condvar::new(),
            durable: AtomicU64::new(last),
            watch: watch::Sender::new(last),
            pressure: AtomicUsize::new(0),
            trimmed: AtomicU64::new(trimmed),
            trimming: Mutex::new(()),
            figures: Figures { batch_records: Spread::over(&SIZES), sync_us: Spread::over(&TIMES_US) },
            ended: SetOnce::new(),
        }
    }

    /// Takes and writes nothing more. The batch that `failed` and the open one count as never written. The marker is on
    /// disk before anyone hears of it, because the first to hear may end the process.
    pub(crate) fn poison(&self, failed: Option<&Batch>) {
        let open = {
            let mut pending = self.pending.lock();
            if failed.is_none() && matches!(pending.state, State::Ended(_)) {
                return;
            }
            pending.end(Fate::Poisoned)
        };
        let refused = failed.unwrap_or(&open).first();
        match self.store.mark(refused) {
            Ok(()) => tracing::error!(refused, "the journal is poisoned; records from here on are removed at the next start"),
            Err(error) => {
                tracing::error!(refused, error = &error as &dyn std::error::Error, "the journal is poisoned and could not be marked")
            }
        }
        crash_point!("journal::marked");
        open.ack.set(Fate::Poisoned).ok();
        self.end(Fate::Poisoned);
    }

    /// Tells those who follow the journal that it has ended. The first reason stays.
    pub(crate) fn end(&self, fate: Fate) {
        self.ended.set(fate).ok();
        self.work.notify_all();
    }
}

/// What the witness says; its loss alone costs nothing.
fn witnessed(folder: &Folder) -> Result<Option<Told>, JournalError> {
    let told = Told::read(folder.dir())?;
    if told.is_none() && folder.store().exists() {
        tracing::warn!("{} has no readable witness of what was acknowledged; it is made anew", folder.dir().display());
    }
    Ok(told)
}

/// Opens a store and reads all of it. fjall's libraries panic at some kinds of damage; that is an answer like any other.
fn open_whole(dir: &Path) -> Result<(Store, Kept), JournalError> {
    let opened = catch_unwind(|| {
        let store = Store::open(dir)?;
        let kept = store.check()?;
        Ok((store, kept))
    });
    opened.unwrap_or_else(|_| Err(JournalError::unreadable(dir)))
}

/// Builds a store without the refused records and puts it in place of the one that may hold them.
fn remove_refused(folder: &Folder, found: Found, refused: u64) -> Result<(), JournalError> {
    tracing::warn!(refused, "the journal failed earlier; records from here on are removed, nobody was told of them");
    let (old, _) = found.checked(folder, open_whole(&folder.store()))?;
    let new = Store::open(&folder.new_store()?)?;
    old.copy_before(refused, &new)?;
    crash_point!("journal::kept_copied");
    drop((old, new));
    folder.replace_store()
}
