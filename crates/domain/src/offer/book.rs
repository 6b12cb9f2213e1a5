//! The book of an offer: every claim it ever gave, who has what, and which key gave which claim.
//!
//! Claims are slots in a slab, indexed by the sequence number that their id carries, so finding one by id
//! needs no map. Two indices hold slab indices only: users by name, and claims by (user, key), and by the pass that took them. Names, keys and
//! attributes stand in one store of texts, and become values of their own when a claim is read. A user's
//! live claims form a doubly linked list through the slots, so a claim that ends is unlinked in O(1) however
//! many a user has.

use super::index::Index;
use super::once::pass_of;
use super::slab::Slab;
use super::texts::{TextAt, Texts};
use crate::claim::{Claim, Status};
use crate::ids::{ClaimId, IdempotencyKey, UserId};
use crate::limits::ORDINAL_LIMIT_MAX;
use crate::time::Millis;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};

/// No slot: the end of a list, or a vacant slot's user.
pub(super) const NONE: u32 = u32::MAX;

/// One user of this offer.
#[derive(Debug)]
pub(super) struct User {
    name: TextAt,
    /// Newest live claim, or [`NONE`].
    newest: u32,
    /// Units held and confirmed.
    pub(super) taken: u32,
    /// Sequence number of the newest place on standby, or [`NONE`].
    pub(super) place: u32,
    /// Claims and places that ended without being confirmed.
    pub(super) ended: u32,
    /// Whether a claim of theirs was ever confirmed: a granted coupon is given once.
    pub(super) had: bool,
}

#[derive(Debug)]
struct Slot {
    nonce: u64,
    created_at: Millis,
    updated_at: Millis,
    /// [`NO_DEADLINE`] when confirmed at once.
    deadline: Millis,
    user: u32,
    newer: u32,
    older: u32,
    quantity: u32,
    version: u32,
    /// The key and the attributes.
    texts: TextAt,
    status: Status,
    /// 0: none.
    ordinal: u8,
}
const _: () = assert!(ORDINAL_LIMIT_MAX < u8::MAX as u32);
// ≤ 250 B of resident memory per live claim (design target): a slot of one cache line, a user, two entries of 9 B in tables that are 44 to
// 87 % full and 4 B of deadline are 113 to 133 B. The rest is left to the texts, and to what journal and ledger keep of it.
const _: () = assert!(size_of::<Slot>() <= 64 && size_of::<User>() <= 24);

const NO_DEADLINE: Millis = Millis(i64::MAX);

/// Every claim of one offer.
#[derive(Debug)]
pub(super) struct Book {
    number: u32,
    hasher: RandomState,
    users: Slab<User>,
    users_by_name: Index,
    slots: Slab<Slot>,
    by_key: Index,
    texts: Texts,
    /// Claims given by confirming; only offers with `grants` have any.
    granted: HashMap<u32, ClaimId>,
    /// How many claims show each user; counted once somebody is forgotten, so that forgetting all of a million does not look at a million for each.
    claims_of: Option<Vec<u32>>,
    pub(super) held: u32,
    pub(super) confirmed: u32,
}

impl Book {
    pub(super) fn new(number: u32) -> Self {
        Self {
            number,
            hasher: RandomState::new(),
            users: Slab::new(),
            users_by_name: Index::new(),
            slots: Slab::new(),
            by_key: Index::new(),
            texts: Texts::new(),
            granted: HashMap::new(),
            claims_of: None,
            held: 0,
            confirmed: 0,
        }
    }

    /// The sequence number that the next claim gets.
    pub(super) fn next_seq(&self) -> u32 {
        self.slots.len()
    }

    /// Index of a user, if this offer knows them.
    pub(super) fn find_user(&self, id: &UserId) -> Option<u32> {
        self.find_name(self.hash(id.as_str()), id)
    }

    fn find_name(&self, hash: u32, id: &UserId) -> Option<u32> {
        self.users_by_name.find(hash, |index| self.name(index) == id.as_str())
    }

    /// Index of a user, who is known from now on.
    pub(super) fn user_index(&mut self, id: &UserId) -> u32 {
        let hash = self.hash(id.as_str());
        if let Some(index) = self.find_name(hash, id) {
            return index;
        }
        let name = self.texts.push([Some(id.as_str())]);
        let index = self.users.push(User { name, newest: NONE, taken: 0, place: NONE, ended: 0, had: false });
        self.users_by_name.insert(hash, index);
        index
    }

    /// The half of a hash that an index keeps. An index of a billion compares one more text in four searches for it.
    fn hash(&self, of: impl Hash) -> u32 {
        (self.hasher.hash_one(of) >> 32) as u32
    }

    fn name(&self, user: u32) -> &str {
        let [name] = self.texts.get(self.users[user].name);
        name.unwrap_or_default()
    }

    pub(super) fn user(&self, index: u32) -> &User {
        &self.users[index]
    }

    pub(super) fn user_mut(&mut self, index: u32) -> &mut User {
        &mut self.users[index]
    }

    /// The claim that `key` gave to `user`.
    pub(super) fn find_key(&self, user: u32, key: &IdempotencyKey) -> Option<Claim> {
        let index = self.by_key.find(self.hash((user, key.as_str())), |index| {
            let slot = &self.slots[index];
            slot.user == user && self.texts.get(slot.texts) == [Some(key.as_str())]
        })?;
        self.claim_at(index)
    }

    /// Whether a pass has taken a claim.
    pub(super) fn knows_pass(&self, pass: &str) -> bool {
        let names = |index| {
            let [_, attributes] = self.texts.get(self.slots[index].texts);
            attributes.and_then(pass_of) == Some(pass)
        };
        self.by_key.find(self.hash_of_pass(pass), names).is_some()
    }

    /// Passes stand among the keys, as those of a user whom there is not.
    fn hash_of_pass(&self, pass: &str) -> u32 {
        self.hash((NONE, pass))
    }

    /// A claim by its id.
    pub(super) fn claim(&self, id: ClaimId) -> Option<Claim> {
        let slot = self.slots.get(id.seq())?;
        // Before the claim is built, which allocates.
        if ClaimId::new(self.number, id.seq(), slot.nonce) == id { self.claim_at(id.seq()) } else { None }
    }

    /// A claim by its sequence number.
    pub(super) fn claim_at(&self, seq: u32) -> Option<Claim> {
        let slot = self.slots.get(seq).filter(|slot| slot.user != NONE)?;
        let [key, attributes] = self.texts.get(slot.texts);
        Some(Claim {
            id: ClaimId::new(self.number, seq, slot.nonce),
            user: UserId::known(self.name(slot.user)),
            quantity: slot.quantity,
            status: slot.status,
            version: slot.version,
            key: key.map(IdempotencyKey::known),
            attributes: attributes.map(Into::into),
            created_at: slot.created_at,
            updated_at: slot.updated_at,
            hold_expires_at: (slot.deadline != NO_DEADLINE).then_some(slot.deadline),
            ordinal: (slot.ordinal != 0).then_some(slot.ordinal.into()),
            granted: self.granted.get(&seq).copied(),
        })
    }

    /// When a claim was due that was taken with a deadline.
    pub(super) fn deadline(&self, seq: u32) -> Millis {
        self.slots[seq].deadline
    }

    /// Whether the claim is held with exactly this deadline; a deadline entry that outlived its hold is not.
    pub(super) fn is_due(&self, seq: u32, deadline: Millis) -> bool {
        self.slots.get(seq).is_some_and(|slot| slot.user != NONE && slot.status == Status::Held && slot.deadline == deadline)
    }

    /// Ids of a user's live claims, newest first, at most `most`.
    pub(super) fn live_claims(&self, user: u32, most: usize) -> Vec<ClaimId> {
        let mut ids = Vec::new();
        let mut seq = self.users[user].newest;
        while seq != NONE && ids.len() < most {
            ids.push(ClaimId::new(self.number, seq, self.slots[seq].nonce));
            seq = self.slots[seq].older;
        }
        ids
    }

    /// The smallest ordinal that none of the user's live claims has; none where the limit is too large to guard.
    pub(super) fn free_ordinal(&self, user: Option<u32>, per_user_limit: Option<u32>) -> Option<u32> {
        let limit = per_user_limit.filter(|&limit| limit <= ORDINAL_LIMIT_MAX)?;
        // At most ORDINAL_LIMIT_MAX live claims (each takes at least one unit of the limit), so one word of bits
        // and one bounded walk. A limit lowered by an edit can leave more live claims than that: bound the walk.
        let mut used = 0_u128;
        let mut seq = user.map_or(NONE, |user| self.users[user].newest);
        let mut left = ORDINAL_LIMIT_MAX;
        while seq != NONE && left > 0 {
            let slot = &self.slots[seq];
            used |= 1 << slot.ordinal;
            seq = slot.older;
            left -= 1;
        }
        (1..=limit).find(|ordinal| used & (1 << ordinal) == 0)
    }

    /// Makes the book show `claim`, if its version is higher than the one it shows. Returns whether it did.
    pub(super) fn put(&mut self, claim: &Claim) -> bool {
        let seq = claim.id.seq();
        while self.slots.len() <= seq {
            self.slots.push(vacant());
        }
        let user = self.user_index(&claim.user);
        let slot = &self.slots[seq];
        let is_new = slot.user == NONE;
        if !is_new && slot.version >= claim.version {
            return false;
        }
        if !is_new && slot.status.is_taken() {
            self.count(seq, Count::Out);
        }
        if !is_new && self.slots[seq].user != user {
            self.forget_texts(seq, claim);
            self.count_shown(self.slots[seq].user, Count::Out);
            self.count_shown(user, Count::In);
        }
        let slot = &mut self.slots[seq];
        slot.user = user;
        slot.quantity = claim.quantity;
        slot.version = claim.version;
        slot.status = claim.status;
        slot.updated_at = claim.updated_at;
        if is_new {
            slot.nonce = claim.id.nonce();
            slot.created_at = claim.created_at;
            slot.deadline = claim.hold_expires_at.unwrap_or(NO_DEADLINE);
            slot.ordinal = claim.ordinal.and_then(|ordinal| u8::try_from(ordinal).ok()).unwrap_or(0);
            slot.texts = self.texts.push([claim.key.as_ref().map(IdempotencyKey::as_str), claim.attributes.as_deref()]);
            if let Some(key) = &claim.key {
                self.by_key.insert(self.hash((user, key.as_str())), seq);
            }
            if let Some(pass) = claim.attributes.as_deref().and_then(pass_of) {
                self.by_key.insert(self.hash_of_pass(pass), seq);
            }
            self.count_shown(user, Count::In);
        }
        if claim.status.is_taken() {
            self.count(seq, Count::In);
        }
        if matches!(claim.status, Status::Confirmed | Status::Returned) {
            self.users[user].had = true;
        }
        if matches!(claim.status, Status::Released | Status::Expired) {
            self.users[user].ended += 1;
        }
        if let Some(granted) = claim.granted {
            self.granted.insert(seq, granted);
        }
        true
    }

    /// The claim at `seq` is somebody else's from here on, who is nobody: its texts are those of `claim`, and what they were is gone.
    fn forget_texts(&mut self, seq: u32, claim: &Claim) {
        let texts = self.texts.push([claim.key.as_ref().map(IdempotencyKey::as_str), claim.attributes.as_deref()]);
        self.texts.erase::<2>(std::mem::replace(&mut self.slots[seq].texts, texts));
    }

    /// Erases a user's name, unless a claim still has it. The first time it looks at every claim: some 30 ms for a million.
    pub(super) fn erase_name(&mut self, id: &UserId) {
        let Some(user) = self.find_user(id) else { return };
        if self.claims_of.is_none() {
            self.claims_of = Some(Vec::new());
            for seq in 0..self.slots.len() {
                self.count_shown(self.slots[seq].user, Count::In);
            }
        }
        if self.claims_of.as_ref().and_then(|counts| counts.get(user as usize)).is_none_or(|count| *count == 0) {
            // No id is empty, so nobody is found by it any more.
            let nobody = self.texts.push([None]);
            self.texts.erase::<1>(std::mem::replace(&mut self.users[user].name, nobody));
        }
    }

    /// Counts a claim that shows `user`, or shows somebody else from here on.
    fn count_shown(&mut self, user: u32, count: Count) {
        let Some(counts) = self.claims_of.as_mut().filter(|_| user != NONE) else { return };
        let at = user as usize;
        if counts.len() <= at {
            counts.resize(at + 1, 0);
        }
        match count {
            Count::In => counts[at] += 1,
            Count::Out => counts[at] -= 1,
        }
    }

    /// Counts a taken claim in or out of the sums and its user's list.
    fn count(&mut self, seq: u32, count: Count) {
        let (user, quantity, status, newer, older) = {
            let slot = &self.slots[seq];
            (slot.user, slot.quantity, slot.status, slot.newer, slot.older)
        };
        let sum = if status == Status::Held { &mut self.held } else { &mut self.confirmed };
        match count {
            Count::In => {
                *sum += quantity;
                let newest = std::mem::replace(&mut self.users[user].newest, seq);
                self.users[user].taken += quantity;
                self.slots[seq].newer = NONE;
                self.slots[seq].older = newest;
                if newest != NONE {
                    self.slots[newest].newer = seq;
                }
            }
            Count::Out => {
                *sum -= quantity;
                self.users[user].taken -= quantity;
                match newer {
                    NONE => self.users[user].newest = older,
                    _ => self.slots[newer].older = older,
                }
                if older != NONE {
                    self.slots[older].newer = newer;
                }
            }
        }
    }
}

enum Count {
    In,
    Out,
}

/// A place in the slab whose claim was never applied: the ledger refused it, or it lies ahead in a replay.
const fn vacant() -> Slot {
    Slot {
        nonce: 0,
        created_at: Millis(0),
        updated_at: Millis(0),
        deadline: NO_DEADLINE,
        user: NONE,
        newer: NONE,
        older: NONE,
        quantity: 0,
        version: 0,
        texts: TextAt::NOWHERE,
        status: Status::Released,
        ordinal: 0,
    }
}
