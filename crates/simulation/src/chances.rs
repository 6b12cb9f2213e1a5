//! How often what goes wrong.

use crate::dice::Dice;

/// How often this seed's disasters come: once in so many steps, 0 for never. Each seed draws its own, so that some are
/// mostly calm and some have hardly anything but one kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chances {
    pub(crate) crash: u64,
    pub(crate) write_fails: u64,
    pub(crate) sync_fails: u64,
    pub(crate) projector_fails: u64,
    pub(crate) answer_lost: u64,
    pub(crate) cancelled: u64,
    pub(crate) duplicate: u64,
    pub(crate) clock_jump: u64,
    pub(crate) clock_back: u64,
    pub(crate) projector: u64,
}

impl Chances {
    /// A seed's own.
    pub(crate) fn draw(dice: &mut Dice) -> Self {
        let mut often = |least: u64, most: u64| if dice.one_in(5) { 0 } else { dice.between(least, most) };
        Self {
            crash: often(60, 1_500),
            write_fails: often(300, 6_000),
            sync_fails: often(300, 6_000),
            projector_fails: often(3, 40),
            answer_lost: often(10, 100),
            cancelled: often(60, 600),
            duplicate: often(6, 60),
            clock_jump: often(40, 800),
            clock_back: often(40, 800),
            projector: often(1, 8),
        }
    }
}
