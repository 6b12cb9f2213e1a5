use super::*;
use crate::config::Settings;

fn config(allow_http: bool, allow_private: &[&str]) -> WebhookConfig {
    let mut settings = Settings::default();
    settings.webhooks.allow_http = allow_http;
    settings.webhooks.allow_private = allow_private.iter().map(ToString::to_string).collect();
    settings.check().expect("settings").webhooks
}

#[test]
fn only_addresses_for_everybody_are_called() {
    for (address, kind) in [
        ("0.0.0.0", "this machine"),
        ("0.1.2.3", "this machine"),
        ("10.0.0.1", "private"),
        ("100.64.0.1", "provider"),
        ("100.127.255.255", "provider"),
        ("127.0.0.1", "loopback"),
        ("127.255.255.254", "loopback"),
        ("169.254.169.254", "link-local"),
        ("172.16.0.1", "private"),
        ("172.31.255.255", "private"),
        ("192.0.0.8", "reserved"),
        ("192.0.2.1", "documents"),
        ("192.88.99.1", "reserved"),
        ("192.168.1.1", "private"),
        ("198.19.255.255", "measurements"),
        ("198.51.100.7", "documents"),
        ("203.0.113.7", "documents"),
        ("224.0.0.1", "multicast"),
        ("239.255.255.250", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "reserved"),
        ("::", "this machine"),
        ("::1", "this machine"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:169.254.169.254", "link-local"),
        ("::ffff:10.1.2.3", "private"),
        // An IPv4 address in the old form, and carried on by NAT64, 6to4 and Teredo.
        ("::127.0.0.1", "reserved"),
        ("64:ff9b::a9fe:a9fe", "reserved"),
        ("64:ff9b:1::1", "reserved"),
        ("2002:7f00:1::1", "IPv4"),
        ("2001:0:7f00:1::1", "reserved"),
        ("100::1", "reserved"),
        ("2001:db8::1", "documents"),
        ("3fff::1", "documents"),
        ("5f00::1", "reserved"),
        ("fc00::1", "private"),
        ("fd00:ec2::254", "private"),
        ("fe80::1", "link-local"),
        ("febf::1", "link-local"),
        ("fec0::1", "reserved"),
        ("ff02::1", "multicast"),
    ] {
        let refused = refused(address.parse().expect(address), &[]);
        assert!(refused.is_some_and(|why| why.contains(kind)), "{address}: {refused:?}");
    }
    for address in ["1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.1", "223.255.255.255"] {
        assert_eq!(refused(address.parse().expect(address), &[]), None, "{address}");
    }
    for address in ["2606:4700::1111", "2a00:1450::1", "2001:4860:4860::8888", "2400:cb00::1"] {
        assert_eq!(refused(address.parse().expect(address), &[]), None, "{address}");
    }
}

#[test]
fn a_network_that_is_named_is_called_and_no_other() {
    let allowed = config(false, &["10.1.0.0/16", "::1"]).allow_private;
    for (address, is_allowed) in [
        ("10.1.2.3", true),
        ("::ffff:10.1.2.3", true),
        ("10.2.0.1", false),
        ("::1", true),
        ("127.0.0.1", false),
        ("::ffff:127.0.0.1", false),
    ] {
        assert_eq!(refused(address.parse().expect(address), &allowed).is_none(), is_allowed, "{address}");
    }
}

#[test]
fn addresses_say_what_they_must_be() {
    let strict = config(false, &[]);
    for (text, reason) in [
        ("", "absolute"),
        ("example.com/hook", "absolute"),
        ("//example.com", "absolute"),
        ("https://", "absolute"),
        ("http://example.com/", "https://"),
        ("ftp://example.com/", "https://"),
        ("file:///etc/passwd", "https://"),
        ("gopher://127.0.0.1:6379/_x", "https://"),
        ("javascript:alert(1)", "https://"),
        ("https://user@example.com/", "password"),
        ("https://:secret@example.com/", "password"),
        ("https://example.com/#x", "#"),
        ("https://example.com/a b", "blanks"),
        (" https://example.com/", "blanks"),
        ("https://exa\tmple.com/", "blanks"),
        ("https://example.com/\r\nX: y", "blanks"),
        ("https://example.com:0/", "port"),
        ("https://example.com:65536/", "absolute"),
        ("https://127.0.0.1/", "loopback"),
        ("https://2130706433/", "loopback"),
        ("https://0x7f.1/", "loopback"),
        ("https://0177.0.0.1/", "loopback"),
        ("https://127.1/", "loopback"),
        ("https://[::1]/", "this machine"),
        ("https://[::ffff:7f00:1]/", "loopback"),
        ("https://169.254.169.254/latest/meta-data/", "link-local"),
        ("https://[fd00:ec2::254]/", "private"),
        // Full-width digits are digits to a resolver.
        ("https://１２７.0.0.1/", "loopback"),
    ] {
        let refused = Target::parse(text, &strict).expect_err(text);
        assert!(refused.contains(reason), "{text}: {refused}");
    }
    let long = format!("https://example.com/{}", "a".repeat(URL_BYTES_MAX));
    assert!(Target::parse(&long, &strict).is_err());
    let target = |text| Target::parse(text, &config(true, &["127.0.0.0/8"])).expect(text);
    let found = target("https://Example.com:8443/hooks/bunho?a=1&b=%20");
    assert_eq!((found.host.as_str(), found.port, found.tls), ("example.com", 8_443, true));
    assert_eq!((found.authority.as_str(), found.path.as_str()), ("example.com:8443", "/hooks/bunho?a=1&b=%20"));
    assert_eq!(target("https://example.com").authority, "example.com");
    assert_eq!(target("https://[2606:4700::1111]/x").host, "2606:4700::1111");
    assert_eq!(target("https://[2606:4700::1111]/x").authority, "[2606:4700::1111]");
    assert_eq!((target("http://127.0.0.1:81/").tls, target("http://127.0.0.1/").port), (false, 80));
}
