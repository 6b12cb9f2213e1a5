//! Is there one order of all calls, each at some moment between its begin and its end, in which a model gives all the answers that were given?
//!
//! The algorithm is Wing and Gong's (1993) with Lowe's memory of what was tried ("Testing for linearizability", 2017): calls are put in order one after
//! the other, a return that is met means that something before it was put wrong. A call whose answer never came may have taken effect at any moment
//! after its begin, or never.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;

/// What a thing does, one call at a time.
pub trait Model {
    type State: Clone + Eq + Hash;
    type Op: Debug;
    type Answer: Debug;

    /// The state after `op`, if `state` can give this answer to it. Without an answer: the state if it took effect.
    fn step(state: &Self::State, op: &Self::Op, answer: Option<&Self::Answer>) -> Option<Self::State>;
}

/// One call of a history. Moments are of one clock, and no two are the same.
#[derive(Clone, Debug)]
pub struct Call<O, A> {
    pub begin: u64,
    pub op: O,
    /// When the answer came, and what it was. None: nobody knows.
    pub end: Option<(u64, A)>,
}

/// The calls that can be put in order, most of them, and the first that cannot.
#[derive(Debug)]
pub struct Stuck {
    pub in_order: usize,
    pub call: String,
}

/// Moments in order; each knows which call it is of.
struct Moment {
    call: usize,
    is_return: bool,
    next: usize,
    previous: usize,
}

/// Index of the list's head, which is no moment.
const HEAD: usize = 0;

/// Whether `history` is linearizable.
pub fn check<M: Model>(initial: M::State, history: &[Call<M::Op, M::Answer>]) -> Result<(), Stuck> {
    let (mut moments, returns) = moments(history);
    let mut state = initial;
    let mut placed = vec![0_u64; history.len().div_ceil(64)];
    let mut tried: HashSet<(Vec<u64>, M::State)> = HashSet::new();
    let mut stack: Vec<(usize, M::State)> = Vec::new();
    let mut stuck = Stuck { in_order: 0, call: String::new() };
    let mut at = moments[HEAD].next;
    // Only calls without an answer are left when the end of the list is reached, and those need no place.
    while at != HEAD {
        let call = moments[at].call;
        if !moments[at].is_return {
            let answer = history[call].end.as_ref().map(|(_, answer)| answer);
            let after = M::step(&state, &history[call].op, answer);
            if let Some(after) = after {
                placed[call / 64] |= 1 << (call % 64);
                if tried.insert((placed.clone(), after.clone())) {
                    stack.push((at, std::mem::replace(&mut state, after)));
                    lift(&mut moments, at, returns[call]);
                    at = moments[HEAD].next;
                    continue;
                }
                placed[call / 64] &= !(1 << (call % 64));
            }
            at = moments[at].next;
        } else {
            if stack.len() >= stuck.in_order {
                stuck = Stuck { in_order: stack.len(), call: format!("{:?}", (&history[call].op, &history[call].end)) };
            }
            let Some((last, before)) = stack.pop() else { return Err(stuck) };
            let call = moments[last].call;
            state = before;
            placed[call / 64] &= !(1 << (call % 64));
            unlift(&mut moments, last, returns[call]);
            at = moments[last].next;
        }
    }
    Ok(())
}

/// A ring of all moments through [`HEAD`], and where each call's return stands.
fn moments<O, A>(history: &[Call<O, A>]) -> (Vec<Moment>, Vec<Option<usize>>) {
    let begins = history.iter().enumerate().map(|(call, of)| (of.begin, call, false));
    let ends = history.iter().enumerate().filter_map(|(call, of)| Some((of.end.as_ref()?.0, call, true)));
    let mut order: Vec<(u64, usize, bool)> = begins.chain(ends).collect();
    order.sort_unstable();
    let count = order.len() + 1;
    let mut returns = vec![None; history.len()];
    let mut moments = vec![Moment { call: usize::MAX, is_return: false, next: 1 % count, previous: count - 1 }];
    for (i, (_, call, is_return)) in order.into_iter().enumerate() {
        if is_return {
            returns[call] = Some(i + 1);
        }
        moments.push(Moment { call, is_return, next: (i + 2) % count, previous: i });
    }
    (moments, returns)
}

fn lift(moments: &mut [Moment], begin: usize, end: Option<usize>) {
    for at in [Some(begin), end].into_iter().flatten() {
        let (previous, next) = (moments[at].previous, moments[at].next);
        moments[previous].next = next;
        moments[next].previous = previous;
    }
}

fn unlift(moments: &mut [Moment], begin: usize, end: Option<usize>) {
    for at in [end, Some(begin)].into_iter().flatten() {
        let (previous, next) = (moments[at].previous, moments[at].next);
        moments[previous].next = at;
        moments[next].previous = at;
    }
}
