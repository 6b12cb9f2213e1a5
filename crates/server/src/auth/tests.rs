use super::*;
use axum::http::HeaderValue;

fn key(role: Role, user: Option<&str>) -> Caller {
    let identity = Identity { who: Who::Key, id: "k1".into(), role, name: "shop".into(), expires_at: None, certificate: None };
    Caller::Key(Arc::new(identity), user.map(|user| UserId::parse(user).expect("an id")))
}

#[test]
fn who_may_act_and_for_whom() {
    let user = Caller::User(UserId::parse("u1").expect("an id"));
    for (caller, may_act, for_user) in [
        (Caller::Anonymous, Err("unauthenticated"), Err("unauthenticated")),
        (user, Ok(()), Ok("u1")),
        (key(Role::Service, Some("u2")), Ok(()), Ok("u2")),
        (key(Role::Service, None), Ok(()), Err("invalid_request")),
        (key(Role::Admin, Some("u2")), Ok(()), Ok("u2")),
        (key(Role::Admin, None), Ok(()), Err("invalid_request")),
        (key(Role::Operator, Some("u2")), Err("forbidden"), Err("forbidden")),
        (key(Role::Viewer, None), Err("forbidden"), Err("forbidden")),
    ] {
        assert_eq!(caller.actor().map(|_| ()).map_err(|problem| problem.kind().code), may_act, "{caller:?}");
        assert_eq!(caller.user().map(UserId::as_str).map_err(|problem| problem.kind().code), for_user, "{caller:?}");
    }
}

#[test]
fn only_one_bearer_token_is_a_credential() {
    for (values, token) in [
        (&[][..], Some(None)),
        (&["Bearer abc"], Some(Some("abc"))),
        (&["bearer  abc "], Some(Some("abc"))),
        (&["Basic dTpw"], None),
        (&["Bearer "], None),
        (&["abc"], None),
        (&["Bearer a", "Bearer b"], None),
    ] {
        let headers = HeaderMap::from_iter(values.iter().map(|value| (AUTHORIZATION, HeaderValue::from_static(value))));
        assert_eq!(bearer(&headers).ok(), token, "{values:?}");
    }
}

#[test]
fn a_user_header_is_taken_once_and_whole() {
    for (values, user) in [
        (&[][..], Some(None)),
        (&["u1"], Some(Some("u1"))),
        (&["김지원"], Some(Some("김지원"))),
        (&["", "u1"], None),
        (&["u1", "u2"], None),
        (&[""], None),
        (&["forgotten-kim"], Some(Some("forgotten-kim"))),
        (&["forgotten-0123456789abcdef0123456789abcdef"], None),
    ] {
        let value = |text: &&str| HeaderValue::from_bytes(text.as_bytes()).expect("a header's value");
        let headers = HeaderMap::from_iter(values.iter().map(|text| (USER_HEADER, value(text))));
        let named = named_user(&headers).ok();
        assert_eq!(named.as_ref().map(|user| user.as_ref().map(UserId::as_str)), user, "{values:?}");
    }
}

#[test]
fn cookies_are_found_among_others() {
    let headers = HeaderMap::from_iter([
        (COOKIE, HeaderValue::from_static("a=1; bunho_session=s1; xbunho_session=no")),
        (COOKIE, HeaderValue::from_static("bunho_pass=p.q.r")),
    ]);
    assert_eq!(cookie(&headers, SESSION_COOKIE), Some("s1"));
    assert_eq!(cookie(&headers, "bunho_pass"), Some("p.q.r"));
    assert_eq!(cookie(&headers, "b"), None);
}
