//! The words of a task and the numbers that stand for them on disk.

use super::{BadRecord, wire};
use crate::task::announcement::Topic;
use crate::task::picture::ImageFormat;
use crate::task::state::{AttemptOutcome, CancelOutcome, FailureKind, Media, State};

/// Pairs each word with its number, in both directions.
macro_rules! words {
    ($name:literal, $ours:ident, $theirs:ident, $write:ident, $read:ident, { $($word:ident),+ $(,)? }) => {
        pub(super) fn $write(word: $ours) -> i32 {
            match word {
                $($ours::$word => wire::$theirs::$word as i32,)+
            }
        }

        pub(super) fn $read(number: i32) -> Result<$ours, BadRecord> {
            match wire::$theirs::try_from(number) {
                $(Ok(wire::$theirs::$word) => Ok($ours::$word),)+
                Ok(wire::$theirs::Unspecified) | Err(_) => Err(BadRecord::UnknownWord($name, number)),
            }
        }
    };
}

words!("state", State, TaskState, write_task_state, read_task_state, {
    Queued, Submitting, Reconciling, Running, Archiving, Succeeded, Failed, Cancelled,
});

words!("media", Media, Media, write_media, read_media, { Mp4, QuickTime, WebM });

words!("image format", ImageFormat, ImageFormat, write_image_format, read_image_format, { Jpeg, Png, WebP });

words!("failure kind", FailureKind, FailureKind, write_failure_kind, read_failure_kind, {
    ProviderRefused, Moderated, ProviderAuth, ProviderFunds, ProviderFailed, ProviderLostJob,
    SubmitOutcomeUnknown, ArtifactLost, ArtifactRejected, TargetForbidden, Deadline, ImageRejected,
});

words!("attempt outcome", AttemptOutcome, AttemptOutcome, write_attempt_outcome, read_attempt_outcome, {
    Pending, Accepted, Refused, NotSent, Unknown,
});

words!("cancel outcome", CancelOutcome, CancelOutcome, write_cancel_outcome, read_cancel_outcome, {
    Requested, Confirmed, AskedUpstream, NotSupported, TooLate,
});

words!("topic", Topic, Topic, write_topic, read_topic, { Succeeded, Failed, Cancelled, Recovered, Updated });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_without_a_word_is_refused() {
        for number in [-1, 0, 99, i32::MAX] {
            assert_eq!(read_task_state(number), Err(BadRecord::UnknownWord("state", number)));
            assert_eq!(read_media(number), Err(BadRecord::UnknownWord("media", number)));
        }
    }
}
