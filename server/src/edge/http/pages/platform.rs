//! What a visitor sits at, from what its browser says of itself. Pure. It decides what is shown first, and nothing else.

/// The system of a visitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum System {
    Apple,
    Mac,
    Android,
    Windows,
    Linux,
    Unknown,
}

/// The browser of a visitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Browser {
    Firefox,
    Edge,
    Chrome,
    /// Safari, curl, and whatever has no resolver of its own.
    Other,
}

/// Reads `User-Agent`. Names are looked for in the order in which others claim to be them as well.
pub(super) fn of(user_agent: &str) -> (System, Browser) {
    let has = |part: &str| user_agent.contains(part);
    let system = if has("iPhone") || has("iPad") || has("iPod") {
        System::Apple
    } else if has("Android") {
        System::Android
    } else if has("Windows") {
        System::Windows
    } else if has("Mac OS X") || has("Macintosh") {
        System::Mac
    } else if has("Linux") || has("X11") || has("CrOS") {
        System::Linux
    } else {
        System::Unknown
    };
    let browser = if system == System::Apple {
        // They are all Safari inside, and take the resolver of the system.
        Browser::Other
    } else if has("Firefox/") {
        Browser::Firefox
    } else if has("Edg/") || has("EdgA/") {
        Browser::Edge
    } else if has("Chrome/") || has("Chromium/") {
        Browser::Chrome
    } else {
        Browser::Other
    };
    (system, browser)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_are_told_apart_although_each_claims_to_be_the_others() {
        for (user_agent, expected) in [
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1",
                (System::Apple, Browser::Other),
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/140.0.0.0 Mobile/15E148 Safari/604.1",
                (System::Apple, Browser::Other),
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605.1.15",
                (System::Mac, Browser::Other),
            ),
            (
                "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Mobile Safari/537.36",
                (System::Android, Browser::Chrome),
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0",
                (System::Windows, Browser::Edge),
            ),
            (
                "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
                (System::Linux, Browser::Firefox),
            ),
            ("curl/8.14.1", (System::Unknown, Browser::Other)),
            ("", (System::Unknown, Browser::Other)),
        ] {
            assert_eq!(of(user_agent), expected, "{user_agent}");
        }
    }
}
