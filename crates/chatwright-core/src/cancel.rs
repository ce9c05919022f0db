//! Cancellation: one side says stop, the other side waits for it.

use tokio::sync::watch;

/// A handle that cancels. Dropping it without [`cancel`](Canceler::cancel) cancels too: nobody is left to say so.
#[derive(Debug)]
pub struct Canceler(watch::Sender<bool>);

/// Learns of a cancellation. Clones share it.
#[derive(Clone, Debug)]
pub struct Cancel(watch::Receiver<bool>);

impl Canceler {
    /// A new pair.
    pub fn new() -> (Self, Cancel) {
        let (sender, receiver) = watch::channel(false);
        (Self(sender), Cancel(receiver))
    }

    /// Cancels. A second call changes nothing.
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }
}

impl Cancel {
    /// Whether it has happened.
    pub fn is_canceled(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Waits for it.
    ///
    /// # Cancel safety
    /// Safe: a dropped wait loses nothing.
    pub async fn canceled(&mut self) {
        // An error means that the canceler is gone, which cancels too.
        let _ = self.0.wait_for(|canceled| *canceled).await;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_cancellation_reaches_every_clone_and_dropping_the_canceler_cancels() {
        let (canceler, mut cancel) = Canceler::new();
        let mut clone = cancel.clone();
        assert!(!cancel.is_canceled());
        assert_eq!(cancel.canceled().now_or_never(), None);
        canceler.cancel();
        assert!(clone.is_canceled());
        assert_eq!(clone.canceled().now_or_never(), Some(()));

        let (canceler, mut cancel) = Canceler::new();
        drop(canceler);
        assert!(cancel.is_canceled());
        assert_eq!(cancel.canceled().now_or_never(), Some(()));
    }
}
