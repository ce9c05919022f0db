use chatwright_core::ChatId;
use parking_lot::Mutex;
use tokio::sync::mpsc;

/// Most chats that wait to be looked at; what is over is found by the next poll.
const CALLS_MAX: usize = 1_024;

/// How the commands of a process call its own worker, without the bus.
#[derive(Default)]
pub(crate) struct Calls(Mutex<Option<mpsc::Sender<ChatId>>>);

impl Calls {
    /// The calls from now on; an earlier subscriber hears nothing more.
    pub(crate) fn subscribe(&self) -> mpsc::Receiver<ChatId> {
        let (sender, receiver) = mpsc::channel(CALLS_MAX);
        *self.0.lock() = Some(sender);
        receiver
    }

    pub(crate) fn call(&self, chat: ChatId) {
        if let Some(sender) = &*self.0.lock() {
            // Full or gone: the poll finds the chat.
            let _ = sender.try_send(chat);
        }
    }
}
