//! What can be wrong with a stream.

/// A broken rule of the stream. All of them end the connection, except where the reader says it skips the frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DerpError {
    /// The frame's length is above what its type may have.
    #[error("frame 0x{kind:02x} of {size} bytes, the limit is {limit}")]
    TooLong {
        /// Type of the frame.
        kind: u8,
        /// Length it claims.
        size: usize,
        /// Length allowed.
        limit: usize,
    },
    /// The frame's body is shorter than its fields, or not of the one length it must have.
    #[error("frame 0x{kind:02x} has a body of {size} bytes, which is not a length it may have")]
    BadLength {
        /// Type of the frame.
        kind: u8,
        /// Length of the body.
        size: usize,
    },
    /// The body has its length, but says what the type doesn't allow.
    #[error("frame 0x{kind:02x} is malformed: {why}")]
    Malformed {
        /// Type of the frame.
        kind: u8,
        /// What was expected.
        why: &'static str,
    },
    /// Another frame was due at this step of the login.
    #[error("expected {expected}, got frame 0x{got:02x}")]
    OutOfOrder {
        /// What was due.
        expected: &'static str,
        /// Type of the frame that came.
        got: u8,
    },
    /// The box does not open: whoever sealed it doesn't hold the key it claims.
    #[error("the sealed {what} does not open with the keys of this connection")]
    BadBox {
        /// Which of the two boxes.
        what: &'static str,
    },
    /// The opened box does not hold what it should.
    #[error("{what} is not the JSON it should be: {why}")]
    BadJson {
        /// Which of the two boxes.
        what: &'static str,
        /// Field or syntax, never the content.
        why: String,
    },
    /// The relay answered the upgrade with something else than 101.
    #[error("the relay answered the upgrade with HTTP status {0}")]
    Refused(u16),
    /// The relay's answer is not HTTP.
    #[error("the relay's answer to the upgrade is not HTTP")]
    NotHttp,
    /// The relay has another key than its certificate says.
    #[error("the relay's key is not the one in its certificate")]
    WrongServerKey,
}
