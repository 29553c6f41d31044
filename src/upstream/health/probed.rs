//! The results of an endpoint's probes. They survive reloads as the endpoint does.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::config::ActiveSettings;

/// The results of an endpoint's probes. Only the control plane uses them.
#[derive(Default)]
pub(in crate::upstream) struct Probed(Mutex<Record>);

#[derive(Debug, Clone, Default)]
pub(in crate::upstream) struct Record {
    pub(in crate::upstream) successes: u64,
    pub(in crate::upstream) failures: u64,
    /// The reason of the last failure.
    pub(in crate::upstream) last_failure: Option<String>,
    /// The results of one kind since the last one of the other kind.
    in_a_row: u32,
    has_failed: bool,
    /// True once probes have decided about the endpoint.
    is_judged: bool,
    /// The end of the last one.
    ended: Option<Instant>,
    /// True if the last one was not the first one.
    has_others: bool,
    /// True from the end of all probes until they begin again: the result of one that was under way changes nothing.
    is_over: bool,
}

/// The conclusion from the results of probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing follows yet.
    Open,
    /// The endpoint gets no requests. `is_first` is true if it was never judged before.
    Down { is_first: bool },
    /// The endpoint gets requests.
    Up { is_first: bool },
}

impl Probed {
    /// Returns the results so far.
    pub(in crate::upstream) fn record(&self) -> Record {
        self.lock().clone()
    }

    /// Returns the end of the last probe, and true if there was no other before it.
    pub(super) fn last(&self) -> Option<(Instant, bool)> {
        let record = self.lock();
        Some((record.ended?, !record.has_others))
    }

    /// Forgets all but the counts, so that the next probe is the first one, and takes no result until probes [`begin`](Self::begin).
    /// `conclude` comes after the conclusions of all results that were taken.
    pub(super) fn end(&self, conclude: impl FnOnce()) {
        let mut record = self.lock();
        let Record { successes, failures, .. } = *record;
        *record = Record { successes, failures, is_over: true, ..Record::default() };
        conclude();
    }

    /// Takes results from now on.
    pub(super) fn begin(&self) {
        self.lock().is_over = false;
    }

    /// Takes the result of a probe, which is the reason if it failed. `conclude` gets the conclusion, before another result is taken.
    pub(super) fn take(
        &self,
        failure: Option<String>,
        settings: &ActiveSettings,
        conclude: impl FnOnce(Verdict, &Record),
    ) {
        let mut record = self.lock();
        if !record.is_over {
            let verdict = record.take(failure, settings);
            conclude(verdict, &record);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    fn take(&mut self, failure: Option<String>, settings: &ActiveSettings) -> Verdict {
        let fails = failure.is_some();
        self.in_a_row = if fails == self.has_failed { self.in_a_row.saturating_add(1) } else { 1 };
        self.has_failed = fails;
        self.has_others = self.ended.replace(Instant::now()).is_some();
        let is_first = !self.is_judged;
        let (count, needed) = match fails {
            true => (&mut self.failures, settings.unhealthy_after),
            // Nothing speaks against an endpoint that is new.
            false if is_first => (&mut self.successes, 1),
            false => (&mut self.successes, settings.healthy_after),
        };
        *count += 1;
        self.last_failure = failure.or(self.last_failure.take());
        if self.in_a_row < needed {
            return Verdict::Open;
        }
        self.is_judged = true;
        if fails { Verdict::Down { is_first } } else { Verdict::Up { is_first } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ProbeKind;

    fn verdicts(results: &str) -> Vec<Verdict> {
        let probed = Probed::default();
        results.chars().filter_map(|result| verdict(&probed, result)).collect()
    }

    fn verdict(probed: &Probed, result: char) -> Option<Verdict> {
        let settings = ActiveSettings {
            kind: ProbeKind::Tcp,
            interval: std::time::Duration::from_secs(5),
            timeout: std::time::Duration::from_secs(1),
            unhealthy_after: 3,
            healthy_after: 2,
            starts_unhealthy: false,
            port: None,
        };
        let failure = (result == '-').then(|| "refused".to_owned());
        let mut concluded = None;
        probed.take(failure, &settings, |verdict, _| concluded = Some(verdict));
        concluded
    }

    #[tokio::test]
    async fn result_of_a_probe_that_outlasts_all_probes_changes_nothing() {
        let probed = Probed::default();
        let results =
            |results: &str| results.chars().map(|result| verdict(&probed, result)).collect::<Vec<_>>();
        assert_eq!(results("---")[2], Some(Verdict::Down { is_first: true }));
        probed.end(|| {});
        assert_eq!(results("---"), [None; 3]);
        assert_eq!((probed.record().failures, probed.last()), (3, None));
        probed.begin();
        assert_eq!(results("---")[2], Some(Verdict::Down { is_first: true }));
    }

    #[tokio::test]
    async fn verdict_needs_results_in_a_row() {
        use Verdict::{Down, Open, Up};
        let (first, again) = (Up { is_first: true }, Up { is_first: false });
        let (first_down, down) = (Down { is_first: true }, Down { is_first: false });
        assert_eq!(verdicts("---"), [Open, Open, first_down]);
        assert_eq!(verdicts("--+--"), [Open, Open, first, Open, Open]);
        assert_eq!(verdicts("---+-++"), [Open, Open, first_down, Open, Open, Open, again]);
        assert_eq!(verdicts("+---"), [first, Open, Open, down]);
    }
}
