//! What happens to processes, and to what they depend on.

use std::time::Duration;

use crate::cluster::{Cluster, LEASE, Role, WRITERS};
use crate::traps::{Act, Traps};
use crate::world::Random;

impl Cluster {
    pub(crate) fn pause_before_fault(&self, random: &mut Random) -> Option<Duration> {
        let mean = self.sim.malice().between?;
        Some(self.sim.time() + mean.mul_f64(0.1 - (1.0 - random.share()).ln()))
    }

    pub(crate) fn fault(&mut self, random: &mut Random) {
        let now = self.sim.time();
        // Writers have the most to lose.
        let (all, writers) = (self.slots.len() as u64, WRITERS as u64);
        let index =
            if random.below(3) == 0 { random.within(all - writers, all - 1) } else { random.below(all) } as usize;
        let kind = random.below(11);
        // Some kinds of faults are left out in some worlds.
        if kind > 1 && self.sim.malice().kinds >> kind & 1 == 0 {
            return;
        }
        self.outcome.faults += 1;
        match kind {
            0..=2 => self.crash(index, random),
            3 | 4 => {
                // Shorter than a lease, or longer; often just as long as it takes others to notice.
                let lease = LEASE.as_millis() as u64;
                let (from, to) = if random.below(2) == 0 { (lease, 2 * lease) } else { (200, 3 * lease) };
                self.stop(index, random.millis(from, to));
            }
            5 => {
                self.sim.note("the queue forgets");
                self.queue.forget();
            }
            8.. => self.sim.traps(|traps| traps.lay(index, random)),
            6 => self.sim.take_away("catalog", now + random.millis(100, 4_000)),
            _ => self
                .sim
                .take_away(["store", "call", "queue"][random.below(3) as usize], now + random.millis(100, 4_000)),
        }
    }

    /// What processes have stepped into.
    pub(crate) fn spring(&mut self, random: &mut Random) {
        for (index, act) in self.sim.traps(Traps::take_sprung) {
            match act {
                Act::Die => self.crash(index, random),
                Act::Stop => {
                    let lease = LEASE.as_millis() as u64;
                    self.stop(index, random.millis(lease / 2, 4 * lease));
                    let role = self.slots[index].role;
                    let alike = |index: &usize| self.slots[*index].role.is_like(role);
                    let all = self.slots.len();
                    let alike: Vec<usize> = (0..all).filter(alike).collect();
                    let from = self.sim.time() + LEASE;
                    self.sim.traps(|traps| traps.lay_end(index, &alike, all, from, random));
                }
                Act::GoOn => {
                    if let Some(process) = &mut self.slots[index].process {
                        self.sim.note(&format!("{} goes on", process.name));
                        process.paused_until = Duration::ZERO;
                        self.sim.rouse(index);
                    }
                }
            }
        }
    }

    fn stop(&mut self, index: usize, length: Duration) {
        let now = self.sim.time();
        if let Some(process) = &mut self.slots[index].process {
            self.outcome.pauses += 1;
            process.paused_since = process.last_sign(now);
            process.paused_until = now + length;
            self.sim.note(&format!("{} is stopped", process.name));
        }
    }

    fn crash(&mut self, index: usize, random: &mut Random) {
        if self.slots[index].process.is_none() {
            return;
        }
        self.outcome.crashes += 1;
        self.end(index);
        let slot = &mut self.slots[index];
        slot.restart_at = self.sim.time() + random.millis(0, 3_000);
        if random.below(3) == 0 {
            slot.died = None;
        }
    }

    /// Ends a process in the middle of whatever it does.
    pub(crate) fn end(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        let Some(process) = slot.process.take() else { return };
        self.sim.note(&format!("{} dies", process.name));
        self.ended.insert(process.name.clone(), process.last_sign(self.sim.time()));
        if let Role::Writer(address) = slot.role {
            self.addresses.lock().unwrap()[address] = None;
        }
        slot.died = Some(process.name.clone());
        slot.budget = None;
        drop(process);
        self.sim.forget(index);
        // Whoever waits for an answer gets none.
        self.sim.rouse_all();
    }
}
