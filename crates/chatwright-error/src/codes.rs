//! What the codes, types and statuses of error bodies mean, compared exactly.

/// What a code says. In the order of their weight: where a body has several, the greatest is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Code {
    InvalidRequest,
    Server,
    Unavailable,
    RateLimit,
    Overloaded,
    NotFound,
    Config,
    ModelNotFound,
    RequestTooLarge,
    ContextOverflow,
    ChainBroken,
    ContentFilter,
    MissingKey,
    Auth,
    ProviderDisabled,
    /// The quota of the day; waiting for a minute does not help.
    DailyLimit,
    Usage,
}

/// Longest code that is looked at; no known one is longer.
const CODE_BYTES_MAX: usize = 64;

impl Code {
    /// Whether prose can add nothing to it.
    pub(crate) fn is_decisive(self, status: Option<u16>) -> bool {
        match self {
            Self::InvalidRequest | Self::Server | Self::Unavailable | Self::NotFound | Self::Config => false,
            // Load passes where the status says so too.
            Self::RateLimit => matches!(status, None | Some(429)),
            Self::Overloaded => matches!(status, None | Some(429 | 500..)),
            // Some vendors mean limits that pass.
            Self::Usage => status != Some(429),
            _ => true,
        }
    }

    /// The status that goes with what a code says of the request.
    pub(crate) fn stands_for(self) -> Option<u16> {
        match self {
            Self::InvalidRequest | Self::Config => Some(400),
            Self::NotFound => Some(404),
            _ => None,
        }
    }

    /// The meaning of a code. Letter case, `_`, `-`, `.` and blanks do not matter, nor do `Error` and `Exception` at its
    /// end, nor what AWS puts around the name of an exception (`com.amazonaws#Name`, `Name:http://…`).
    pub(crate) fn of(code: &str) -> Option<Self> {
        let code = code.split(':').next().unwrap_or(code);
        let code = code.rsplit('#').next().unwrap_or(code).trim();
        if code.len() > CODE_BYTES_MAX {
            return None;
        }
        let mut buffer = [0; CODE_BYTES_MAX];
        let mut end = 0;
        for byte in code.bytes().filter(u8::is_ascii_alphanumeric) {
            buffer[end] = byte.to_ascii_lowercase();
            end += 1;
        }
        let mut word = &buffer[..end];
        if word == b"validationexception" {
            return Some(Self::Config);
        }
        while let Some(shorter) = word.strip_suffix(b"exception").or_else(|| word.strip_suffix(b"error")) {
            word = shorter;
        }
        let word = std::str::from_utf8(word).ok()?;
        Some(match word {
            "insufficientquota"
            | "budgetexceeded"
            | "billingdisabled"
            | "billinghardlimitreached"
            | "billingnotactive"
            | "billing"
            | "creditbalanceexhausted"
            | "creditlimitexceeded"
            | "exceededcurrentquota"
            | "paymentrequired"
            | "insufficientcredit"
            | "insufficientcredits"
            | "insufficientbalance"
            | "insufficientfunds"
            | "quotaexceeded"
            | "servicequotaexceeded"
            | "usagelimitreached"
            | "usagelimitexceeded"
            | "arrearage" => Self::Usage,
            "providerdisabled" => Self::ProviderDisabled,
            "missingkey" | "missingapikey" => Self::MissingKey,
            "invalidapikey"
            | "incorrectapikey"
            | "apikeyinvalid"
            | "apikeyexpired"
            | "authentication"
            | "invalidauthentication"
            | "missingauthenticationtoken"
            | "authorization"
            | "unauthenticated"
            | "unauthorized"
            | "permission"
            | "permissiondenied"
            | "accessdenied"
            | "notauthorized"
            | "forbidden"
            | "expiredtoken"
            | "unrecognizedclient"
            | "invalidclienttokenid"
            | "invalidsignature"
            | "incompletesignature"
            | "accountdeactivated"
            | "invalidorganization"
            | "servicedisabled"
            | "unsupportedcountryregionterritory" => Self::Auth,
            "contentfilter"
            | "prohibitedcontent"
            | "invalidprompt"
            | "datainspectionfailed"
            | "moderationblocked" => Self::ContentFilter,
            "previousresponsenotfound" => Self::ChainBroken,
            "contextlengthexceeded"
            | "contextexceeded"
            | "contextwindowexceeded"
            | "contextlimitexceeded"
            | "exceedcontextsize"
            | "maxcontextlengthexceeded"
            | "modelcontextwindowexceeded"
            | "inputtoolong"
            | "tokenslimitreached" => Self::ContextOverflow,
            "requesttoolarge" | "requestentitytoolarge" | "payloadtoolarge" | "contenttoolarge" => {
                Self::RequestTooLarge
            }
            "modelnotfound"
            | "modelnotavailable"
            | "modelnotsupported"
            | "modeldecommissioned"
            | "deploymentnotfound"
            | "invalidmodel"
            | "invalidmodelid"
            | "unknownmodel"
            | "unsupportedmodel" => Self::ModelNotFound,
            "malformedconfig" | "malformedconfiguration" | "failedprecondition" => Self::Config,
            "notfound" | "resourcenotfound" => Self::NotFound,
            "overloaded" | "serverisoverloaded" | "serveroverloaded" | "modeloverloaded"
            | "engineoverloaded" | "nocapacity" | "slowdown" | "serverbusy" | "servicebusy" => {
                Self::Overloaded
            }
            "ratelimit"
            | "ratelimited"
            | "ratelimitexceeded"
            | "ratelimitreached"
            | "requestlimitexceeded"
            | "resourceexhausted"
            | "throttled"
            | "throttling"
            | "throttlingratequota"
            | "toomanyrequests"
            | "tokens"
            | "requests" => Self::RateLimit,
            "timeout" | "vectorstoretimeout" | "requesttimeout" | "gatewaytimeout" | "upstreamtimeout"
            | "deadlineexceeded" | "modeltimeout" | "modelnotready" | "unavailable"
            | "serviceunavailable" | "badgateway" => Self::Unavailable,
            "server" | "api" | "internal" | "internalserver" | "internalfailure" | "upstream" | "model"
            | "modelstream" | "unknown" | "aborted" => Self::Server,
            "invalidrequest" | "badrequest" | "invalidargument" | "unprocessableentity" => {
                Self::InvalidRequest
            }
            _ if word.ends_with("spendlimitexceeded") => Self::Usage,
            _ if word.ends_with("policyviolation") => Self::ContentFilter,
            _ if word.ends_with("capacityexceeded") => Self::Overloaded,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_means_the_same_in_every_spelling() {
        for spelling in ["rate_limit_error", "RateLimitError", "RATE-LIMIT", "rate limit"] {
            assert_eq!(Code::of(spelling), Some(Code::RateLimit), "{spelling}");
        }
        for spelling in
            ["ThrottlingException", "com.amazon.coral#ThrottlingException", "ThrottlingException:http://a/"]
        {
            assert_eq!(Code::of(spelling), Some(Code::RateLimit), "{spelling}");
        }
        assert_eq!(Code::of("team_spend_limit_exceeded"), Some(Code::Usage));
        assert_eq!(Code::of("ValidationException"), Some(Code::Config));
        assert_eq!(Code::of("validation_error"), None);
    }

    #[test]
    fn what_is_not_exactly_a_code_means_nothing() {
        let long = "x".repeat(CODE_BYTES_MAX) + "_rate_limit";
        for word in ["", "error", "my_rate_limit_policy", "429", "overloaded_operator", "é", &long] {
            assert_eq!(Code::of(word), None, "{word}");
        }
    }
}
