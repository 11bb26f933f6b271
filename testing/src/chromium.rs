//! Debian's Chromium, as tests run it.

/// Headless, without any habit that needs a network or a desktop. It prints the page as it is after ten seconds of its own time.
pub const FLAGS: [&str; 11] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    "--virtual-time-budget=10000",
    "--dump-dom",
];
