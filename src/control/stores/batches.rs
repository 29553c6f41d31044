//! Charges on their way to a store. While a command for a key is under way, further charges to the key wait for the next one.

use std::collections::VecDeque;

use foldhash::HashMap;
use tokio::sync::oneshot;

use super::command::{Command, Granted};
use crate::policy::{Charge, Charged, Gcra, StoreKey};

/// The charges that wait, by key. After a reload a key may have charges of two limits, which do not share a command.
#[derive(Default)]
pub(super) struct Batches {
    keys: HashMap<(StoreKey, Gcra), Batch>,
    /// The keys that have charges and no command under way, in the order of their first charges.
    ready: VecDeque<(StoreKey, Gcra)>,
    /// The requests that wait for the next command of their key.
    waiting: usize,
}

/// The charges to a key.
#[derive(Default)]
struct Batch {
    waiting: Vec<oneshot::Sender<Charged>>,
    returned: u32,
    is_under_way: bool,
}

/// A command with the requests that it decides about.
pub(super) struct Order {
    pub(super) command: Command,
    replies: Vec<oneshot::Sender<Charged>>,
}

impl Batches {
    /// Adds a charge.
    pub(super) fn add(&mut self, charge: Charge) {
        let key = (charge.key, charge.limit);
        let batch = self.keys.entry(key).or_default();
        if batch.is_idle() {
            self.ready.push_back(key);
        }
        match charge.reply {
            Some(reply) => {
                batch.waiting.push(reply);
                self.waiting += 1;
            }
            None => batch.returned = batch.returned.saturating_add(1),
        }
    }

    /// Returns the number of requests that wait for a command.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Returns the next command. Requests that do not wait any more are left out.
    pub(super) fn next(&mut self) -> Option<Order> {
        while let Some(key) = self.ready.pop_front() {
            let Some(batch) = self.keys.get_mut(&key) else { continue };
            let mut replies = std::mem::take(&mut batch.waiting);
            self.waiting -= replies.len();
            replies.retain(|reply| !reply.is_closed());
            let returned = std::mem::take(&mut batch.returned);
            if replies.is_empty() && returned == 0 {
                self.keys.remove(&key);
                continue;
            }
            batch.is_under_way = true;
            let asked = u32::try_from(replies.len()).unwrap_or(u32::MAX);
            let command = Command { key: key.0, limit: key.1, asked, returned };
            return Some(Order { command, replies });
        }
        None
    }

    /// Notes that a command for a key has ended: the charges that have come since are the next one.
    pub(super) fn end(&mut self, command: &Command) {
        let key = (command.key, command.limit);
        let Some(batch) = self.keys.get_mut(&key) else { return };
        batch.is_under_way = false;
        if batch.waiting.is_empty() && batch.returned == 0 {
            self.keys.remove(&key);
        } else {
            self.ready.push_back(key);
        }
    }
}

impl Batch {
    /// Returns true if the key has neither charges nor a command under way.
    fn is_idle(&self) -> bool {
        !self.is_under_way && self.waiting.is_empty() && self.returned == 0
    }
}

impl Order {
    /// Sends the decisions: the requests that came first are admitted.
    pub(super) fn reply(self, granted: Granted) {
        let mut ahead = granted.ahead;
        for (number, reply) in (0..).zip(self.replies) {
            let is_admitted = number < granted.count;
            // The request may have been abandoned.
            let _gone = reply.send(Charged { ahead, is_admitted });
            if is_admitted {
                ahead = ahead.saturating_add(self.command.limit.interval);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use super::*;

    fn limit(burst: u32) -> Gcra {
        let burst = NonZeroU32::new(burst).unwrap();
        Gcra::new(NonZeroU32::MIN, Duration::from_secs(1), burst, Duration::ZERO)
    }

    fn charge(key: u8, limit: Gcra) -> (Charge, oneshot::Receiver<Charged>) {
        let (reply, decision) = oneshot::channel();
        (Charge { key: StoreKey([key; 16]), limit, reply: Some(reply) }, decision)
    }

    fn asked(order: &Order) -> (u8, u32, u32) {
        (order.command.key.0[0], order.command.asked, order.command.returned)
    }

    #[test]
    fn charges_that_come_during_a_command_share_the_next_one() {
        let mut batches = Batches::default();
        let (first, mut decision) = charge(1, limit(5));
        batches.add(first);
        let order = batches.next().unwrap();
        assert_eq!(asked(&order), (1, 1, 0));
        let later: Vec<_> = (0..3)
            .map(|_| {
                let (charge, decision) = charge(1, limit(5));
                batches.add(charge);
                decision
            })
            .collect();
        batches.add(Charge { key: StoreKey([1; 16]), limit: limit(5), reply: None });
        let (other, _decision) = charge(2, limit(5));
        batches.add(other);
        assert_eq!(batches.waiting(), 4);
        assert_eq!(asked(&batches.next().unwrap()), (2, 1, 0));
        assert!(batches.next().is_none(), "a command of the key is under way");
        batches.end(&order.command);
        order.reply(Granted { count: 1, ahead: 7 });
        assert_eq!(decision.try_recv().unwrap(), Charged { ahead: 7, is_admitted: true });
        let order = batches.next().unwrap();
        assert_eq!(asked(&order), (1, 3, 1));
        order.reply(Granted { count: 2, ahead: 10 });
        let second = 1_000_000_000;
        let expected = [(10, true), (10 + second, true), (10 + 2 * second, false)];
        for (mut decision, (ahead, is_admitted)) in later.into_iter().zip(expected) {
            assert_eq!(decision.try_recv().unwrap(), Charged { ahead, is_admitted });
        }
    }

    #[test]
    fn requests_that_have_left_are_not_charged() {
        let mut batches = Batches::default();
        let (gone, decision) = charge(1, limit(5));
        batches.add(gone);
        drop(decision);
        assert!(batches.next().is_none());
        assert_eq!((batches.waiting(), batches.keys.len()), (0, 0));
        let (comes, _decision) = charge(1, limit(5));
        batches.add(comes);
        assert_eq!(asked(&batches.next().unwrap()), (1, 1, 0));
    }

    #[test]
    fn limits_of_one_key_do_not_share_a_command_and_keys_are_forgotten() {
        let mut batches = Batches::default();
        let charges = [charge(1, limit(5)), charge(1, limit(6)), charge(1, limit(5))];
        let _decisions: Vec<_> = charges
            .into_iter()
            .map(|(charge, decision)| {
                batches.add(charge);
                decision
            })
            .collect();
        let orders = [batches.next().unwrap(), batches.next().unwrap()];
        assert_eq!([asked(&orders[0]), asked(&orders[1])], [(1, 2, 0), (1, 1, 0)]);
        for order in orders {
            batches.end(&order.command);
        }
        assert!(batches.keys.is_empty() && batches.ready.is_empty());
    }
}
