use std::time::Duration;

use chatwright_core::ChatId;
use chatwright_core::port::Topic;

/// Where a chat's doorbell rings after every commit. What a frame says does not matter.
pub(crate) fn doorbell_topic(chat: ChatId) -> Topic {
    Topic::new(format!("chat/{chat}")).expect("41 bytes are a short name")
}

/// About this long, ±20 %, always the same for one chat: so that the polls of many viewers do not fall together.
pub(super) fn spread(chat: ChatId, about: Duration) -> Duration {
    let share = u32::try_from(chat.as_uuid().as_u128() % 401).expect("a number below 401");
    about.mul_f64(f64::from(800 + share) / 1_000.0)
}

#[cfg(test)]
mod tests {
    use chatwright_core::Uuid;

    use super::*;

    #[test]
    fn polls_of_chats_are_spread_over_twenty_percent_each_way() {
        let of = |n| spread(ChatId::from_uuid(Uuid::from_u128(n)), Duration::from_secs(10));
        assert_eq!((of(0), of(400)), (Duration::from_secs(8), Duration::from_secs(12)));
        assert_eq!(of(u128::MAX), of(u128::MAX));
        assert_eq!(doorbell_topic(ChatId::from_uuid(Uuid::nil())).as_str().len(), 41);
    }
}
