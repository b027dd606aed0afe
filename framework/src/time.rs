//! Times that several parts of the library share, and how a deadline is judged.

use std::{pin::pin, time::Duration};

use tokio::time::{Instant, sleep};

/// A hundred years: longer than any program runs.
///
/// It is short enough to be added to any instant. Settings cut `Duration::MAX` to this.
pub(crate) const FOREVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// The instant so much later. A time that no clock reaches counts as [`FOREVER`].
///
/// Every time that a user sets is added by this function, because an instant that overflows panics.
pub(crate) fn after(start: Instant, time: Duration) -> Instant {
    start + time.min(FOREVER)
}

/// The instant so much later than now.
pub(crate) fn from_now(time: Duration) -> Instant {
    after(Instant::now(), time)
}

/// How long a deadline waits at least for what has arrived in time and was not read yet.
pub(crate) const GRACE: Duration = Duration::from_millis(250);
/// How long a deadline waits at most.
const LONGEST_GRACE: Duration = Duration::from_secs(5);

/// How long to read on before a deadline that has passed is judged.
///
/// If the thread was blocked or the process was stopped, timers run out before the sockets are read. So what came in
/// time is read first, for as long as the deadline was late.
pub(crate) fn grace(deadline: Instant) -> Duration {
    deadline.elapsed().clamp(GRACE, LONGEST_GRACE)
}

/// As tokio's `timeout`, but reads what has arrived in time before it judges. Returns `None` if the time is over.
pub(crate) async fn timeout<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    let (mut future, mut timer) = (pin!(future), pin!(sleep(limit)));
    let mut put_off = false;
    loop {
        tokio::select! {
            biased;
            done = &mut future => return Some(done),
            () = &mut timer => {
                if std::mem::replace(&mut put_off, true) {
                    return None;
                }
                let grace = grace(timer.deadline());
                timer.as_mut().reset(Instant::now() + grace);
            }
        }
    }
}

/// Waits until a time is over. If the thread was blocked meanwhile, waits for what has arrived to be read.
pub(crate) async fn over(limit: Duration) {
    let mut timer = pin!(sleep(limit));
    timer.as_mut().await;
    let due = timer.deadline();
    if due.elapsed() >= GRACE {
        sleep(grace(due)).await;
    }
}

/// The pauses between attempts that fail. Each is twice as long as the one before, up to the longest.
#[derive(Debug, Clone)]
pub(crate) struct Pauses {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Pauses {
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// How long to wait now. The next pause is longer.
    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        pause
    }

    /// Begins with the first pause again, after an attempt has succeeded.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use tokio::{sync::oneshot, time::advance};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_is_late_waits_for_as_long_for_what_has_arrived() {
        let second = Duration::from_secs(1);
        // The clock jumps, as it does for a process that was stopped. The answer comes some time after that.
        for (jump, answer, comes) in [(3, 1, true), (3, 3, false), (60, 4, true), (60, 6, false)] {
            let (sender, receiver) = oneshot::channel();
            let answers = async {
                advance(jump * second).await;
                sleep(answer * second).await;
                let _ = sender.send(());
            };
            let (came, ()) = tokio::join!(timeout(second, receiver), answers);
            assert_eq!(came.is_some(), comes, "{jump} {answer}");
        }
        let start = Instant::now();
        assert_eq!(timeout(second, std::future::pending::<()>()).await, None);
        assert_eq!(start.elapsed(), second + GRACE, "a deadline in time waits for a moment only");
        let start = Instant::now();
        over(second).await;
        assert_eq!(start.elapsed(), second);
        tokio::join!(over(second), advance(3 * second));
        assert_eq!(start.elapsed(), 6 * second);
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew() {
        let mut pauses = Pauses::new(Duration::from_secs(1), Duration::from_secs(5));
        let times: Vec<_> = (0..5).map(|_| pauses.next().as_secs()).collect();
        assert_eq!(times, [1, 2, 4, 5, 5]);
        pauses.reset();
        assert_eq!(pauses.next().as_secs(), 1);
    }
}
