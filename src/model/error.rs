//! ZooKeeper's error codes, and a refusal: a code with a text for people.

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($name:ident = $code:literal, $text:literal;)*) => {
        /// ZooKeeper's error codes (KeeperException.java of 3.9.5).
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
        #[repr(i32)]
        pub enum ErrorCode { $($name = $code,)* }

        impl ErrorCode {
            /// The code of that number, if ZooKeeper has one.
            pub const fn from_code(code: i32) -> Option<ErrorCode> {
                match code { $($code => Some(ErrorCode::$name),)* _ => None }
            }

            /// The name, as ZooKeeper's documentation writes it.
            pub const fn name(self) -> &'static str {
                match self { $(ErrorCode::$name => $text,)* }
            }
        }
    };
}

codes! {
    Ok = 0, "OK";
    SystemError = -1, "SYSTEMERROR";
    RuntimeInconsistency = -2, "RUNTIMEINCONSISTENCY";
    DataInconsistency = -3, "DATAINCONSISTENCY";
    ConnectionLoss = -4, "CONNECTIONLOSS";
    MarshallingError = -5, "MARSHALLINGERROR";
    Unimplemented = -6, "UNIMPLEMENTED";
    OperationTimeout = -7, "OPERATIONTIMEOUT";
    BadArguments = -8, "BADARGUMENTS";
    UnknownSession = -12, "UNKNOWNSESSION";
    NewConfigNoQuorum = -13, "NEWCONFIGNOQUORUM";
    ReconfigInProgress = -14, "RECONFIGINPROGRESS";
    ApiError = -100, "APIERROR";
    NoNode = -101, "NONODE";
    NoAuth = -102, "NOAUTH";
    BadVersion = -103, "BADVERSION";
    NoChildrenForEphemerals = -108, "NOCHILDRENFOREPHEMERALS";
    NodeExists = -110, "NODEEXISTS";
    NotEmpty = -111, "NOTEMPTY";
    SessionExpired = -112, "SESSIONEXPIRED";
    InvalidCallback = -113, "INVALIDCALLBACK";
    InvalidAcl = -114, "INVALIDACL";
    AuthFailed = -115, "AUTHFAILED";
    SessionMoved = -118, "SESSIONMOVED";
    NotReadOnly = -119, "NOTREADONLY";
    EphemeralOnLocalSession = -120, "EPHEMERALONLOCALSESSION";
    NoWatcher = -121, "NOWATCHER";
    RequestTimeout = -122, "REQUESTTIMEOUT";
    ReconfigDisabled = -123, "RECONFIGDISABLED";
    SessionClosedRequireSaslAuth = -124, "SESSIONCLOSEDREQUIRESASLAUTH";
    QuotaExceeded = -125, "QUOTAEXCEEDED";
    ThrottledOp = -127, "THROTTLEDOP";
}

impl ErrorCode {
    pub(crate) const fn code(self) -> i32 {
        self as i32
    }
}

/// Why a request is refused. The session reads `text` at `/zookeeper/rejection`. It is empty for the ordinary errors of
/// the protocol, which need no explanation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refusal {
    pub code: ErrorCode,
    /// "plugin: path: text", at most `limits::REFUSAL_TEXT_BYTES_MAX` bytes, or empty.
    pub text: String,
}

impl Refusal {
    /// Cuts the text at the bound.
    pub(crate) fn new(code: ErrorCode, text: impl Into<String>) -> Refusal {
        let mut text = text.into();
        let mut end = text.len().min(crate::limits::REFUSAL_TEXT_BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        Refusal { code, text }
    }
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Refusal {
        Refusal { code, text: String::new() }
    }
}
