//! Deaths and stops at chosen points. Those at a time by chance seldom meet the moments that matter: between a look and
//! what is done about it, or just when somebody else does the same.

use std::time::Duration;

use crate::world::Random;

/// Points, as their names begin: those of the catalog's transactions matter most.
const POINTS: [&str; 8] =
    ["catalog begin", "catalog begin", "catalog committed", "catalog", "store put", "store has", "store", "call"];

/// What happens to a process when a trap springs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Die,
    Stop,
    GoOn,
}

#[derive(Debug)]
struct Trap {
    /// What happens to whom.
    act: Act,
    of: usize,
    /// Whoever comes to this point, counted down, springs it.
    by: usize,
    point: &'static str,
    left: u64,
    /// It waits until then.
    from: Duration,
}

/// The traps of a world.
#[derive(Debug, Default)]
pub(crate) struct Traps {
    set: Vec<Trap>,
    sprung: Vec<(usize, Act)>,
}

impl Traps {
    /// Lets a process die or stop at one of its next points.
    pub(crate) fn lay(&mut self, of: usize, random: &mut Random) {
        let act = if random.below(3) == 0 { Act::Die } else { Act::Stop };
        self.set.push(Trap { act, of, by: of, point: point(random), left: random.below(6), from: Duration::ZERO });
    }

    /// Lets one that is stopped go on when another comes to a point, most often one that does the same.
    pub(crate) fn lay_end(&mut self, of: usize, alike: &[usize], all: usize, from: Duration, random: &mut Random) {
        let by = match random.below(3) {
            0 => random.below(all as u64) as usize,
            _ => alike[random.below(alike.len() as u64) as usize],
        };
        if by != of {
            self.set.push(Trap { act: Act::GoOn, of, by, point: point(random), left: random.below(4), from });
        }
    }

    /// A process comes to a point.
    pub(crate) fn arrive(&mut self, process: usize, what: &str, now: Duration) {
        let sprung = &mut self.sprung;
        self.set.retain_mut(|trap| {
            if trap.by != process || !what.starts_with(trap.point) || now < trap.from {
                return true;
            }
            if trap.left > 0 {
                trap.left -= 1;
                return true;
            }
            sprung.push((trap.of, trap.act));
            false
        });
    }

    /// What has happened since the last look.
    pub(crate) fn take_sprung(&mut self) -> Vec<(usize, Act)> {
        std::mem::take(&mut self.sprung)
    }

    /// Takes all away.
    pub(crate) fn clear(&mut self) {
        self.set.clear();
    }
}

fn point(random: &mut Random) -> &'static str {
    POINTS[random.below(POINTS.len() as u64) as usize]
}
