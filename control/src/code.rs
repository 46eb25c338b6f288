//! Enums that travel as one byte.

/// Declares an enum with a byte and a name for each variant, and the conversions.
macro_rules! coded {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $code:literal $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum $name { $($(#[$variant_doc])* $variant = $code,)* }

        impl $name {
            /// All of them, in the order of their codes.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its number on the line.
            pub const fn code(self) -> u8 {
                self as u8
            }

            /// The one of this number, if there is one.
            pub fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }

            /// Its name for programs, as in JSON.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

coded! {
    /// What answers questions.
    ModelState {
        /// No model: the rule engine answers.
        None = 0 "none",
        /// A model is being loaded.
        Loading = 1 "loading",
        /// The model answers.
        Ready = 2 "ready",
        /// The model could not be loaded: the rule engine answers.
        Failed = 3 "failed",
    }
}

coded! {
    /// How soon a question is served among those that wait.
    Priority {
        /// After the others.
        Low = 0 "low",
        /// As most.
        Normal = 1 "normal",
        /// Before the others.
        High = 2 "high",
    }
}

coded! {
    /// Why an answer ended.
    EndReason {
        /// The model said so.
        Finished = 0 "finished",
        /// `max_tokens` were generated.
        MaxTokens = 1 "max-tokens",
        /// The context is full.
        ContextFull = 2 "context-full",
        /// It was cancelled.
        Cancelled = 3 "cancelled",
        /// The model failed.
        Failed = 4 "failed",
        /// Its deadline passed.
        Deadline = 5 "deadline",
    }
}

coded! {
    /// Why a request is not served.
    Reason {
        /// The frame or its payload is not understood.
        Malformed = 1 "malformed",
        /// Another version of the protocol.
        Version = 2 "version",
        /// The token is nobody's.
        Denied = 3 "denied",
        /// Too much is being served already; ask later.
        Busy = 4 "busy",
        /// No model is loaded.
        NoModel = 5 "no-model",
        /// No request of this number is running, or it is another client's.
        UnknownRequest = 6 "unknown-request",
        /// The kernel failed to serve it.
        Internal = 7 "internal",
        /// The token was replaced by a newer one.
        Expired = 8 "expired",
        /// Too many wrong tokens; none is looked at for a while.
        LockedOut = 9 "locked-out",
        /// The token is good, but its rights do not suffice.
        Weak = 10 "weak",
        /// The payload ends before its token does.
        Truncated = 11 "truncated",
        /// The prompt, a name or the frame is longer than is accepted.
        TooLong = 12 "too-long",
        /// This kernel does not do that.
        Unsupported = 13 "unsupported",
        /// The id is not larger than the last of this connection.
        Replayed = 14 "replayed",
        /// The upload's bytes are not the next ones, or not those that were announced.
        OutOfOrder = 15 "out-of-order",
        /// The CPU or the memory that it needs is not free: the budget's arithmetic is in the text.
        NotAdmitted = 16 "not-admitted",
    }
}
