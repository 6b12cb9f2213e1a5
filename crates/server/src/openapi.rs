//! The OpenAPI document: what the handlers say of themselves, and what is the same for all of them.

use crate::http::{admin, claims, offers, operations, passes, standby, traffic, zones};
use crate::problem::{FieldError, KINDS};
use std::sync::LazyLock;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn};
use utoipa::openapi::schema::{ArrayBuilder, Object, ObjectBuilder, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi as Document, Ref, RefOr, ResponseBuilder, Schema};
use utoipa::{Modify, OpenApi};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Bunho",
        description = "The open engine for first-come, first-served events: a fair waiting line, a limited quantity given out exactly once, and every result in SQL. Errors are RFC 9457 problems with a stable `code`; every answer carries `x-request-id`."
    ),
    tags(
        (name = "line", description = "The waiting line and its passes"),
        (name = "offers", description = "What is limited, and what is left of it"),
        (name = "claims", description = "Units taken by users"),
        (name = "standby", description = "The ordered wait for units that come back"),
        (name = "admin", description = "Administration: needs a key of role viewer, operator or admin, or a console session"),
        (name = "operations", description = "Health and numbers"),
    ),
    paths(
        traffic::wait, traffic::entry, traffic::leave, traffic::stream,
        zones::status, passes::verify, passes::jwks,
        offers::list, offers::read, offers::stock, offers::claim,
        claims::list, claims::read, claims::confirm, claims::release,
        standby::join, standby::read, standby::leave,
        admin::zones::list, admin::zones::read, admin::zones::put, admin::zones::delete,
        admin::zones::pause, admin::zones::resume, admin::zones::reset,
        admin::pages::read, admin::pages::put,
        admin::offers::list, admin::offers::read, admin::offers::put, admin::offers::delete,
        admin::offers::restock, admin::offers::close,
        admin::zones::minutes, admin::live::read, admin::overview::read, admin::system::read,
        admin::offers::claims, admin::sales::read, admin::standby::list,
        admin::claims::search, admin::claims::read, admin::claims::take_back,
        admin::keys::list, admin::keys::make, admin::keys::revoke,
        admin::ticket_keys::list, admin::ticket_keys::rotate, admin::ticket_keys::drop_key,
        admin::pass_keys::list, admin::pass_keys::rotate, admin::pass_keys::drop_key,
        admin::session::read, admin::session::open, admin::session::close,
        admin::sessions::list, admin::sessions::end,
        admin::accounts::list, admin::accounts::make, admin::accounts::put, admin::accounts::delete,
        admin::account::password, admin::account::offer_totp, admin::account::turn_totp_on, admin::account::turn_totp_off,
        admin::webhooks::list, admin::webhooks::make, admin::webhooks::read, admin::webhooks::put, admin::webhooks::delete,
        admin::webhooks::rotate, admin::webhooks::test,
        admin::deliveries::list, admin::deliveries::redeliver, admin::deliveries::discard,
        admin::audit::list, admin::backup::begin, admin::forget::forget, admin::reconcile::run, admin::rehearsal::run, admin::rehearsal::spent,
        operations::healthz, operations::readyz, operations::metrics, operations::openapi,
    ),
    components(schemas(FieldError, offers::OfferView, admin::offers::OfferSettingsView, admin::overview::OfferGlance)),
    modifiers(&Common)
)]
struct Api;

static JSON: LazyLock<String> = LazyLock::new(|| Api::openapi().to_json().unwrap_or_default());

/// The document.
pub(crate) fn json() -> &'static str {
    &JSON
}

/// What is the same for all operations: problems, and who may call.
struct Common;

impl Modify for Common {
    fn modify(&self, document: &mut Document) {
        let components = document.components.get_or_insert_default();
        components.schemas.insert("Problem".into(), problem_schema());
        for (name, description) in
            [("key", "A key of a service or an operator: `Authorization: Bearer bk_…`"), ("user", "A user's JWT of the configured issuer")]
        {
            let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(description)).build();
            components.add_security_scheme(name, SecurityScheme::Http(scheme));
        }
        let user = ApiKeyValue::with_description(
            crate::auth::USER_HEADER.as_str(),
            "The user: with a service key whom it acts for; without one where the server believes this header",
        );
        components.add_security_scheme("user_header", SecurityScheme::ApiKey(ApiKey::Header(user)));
        let session = ApiKeyValue::with_description(crate::auth::SESSION_COOKIE, "A console session; changes also need X-Requested-With");
        components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(session)));
        for (path, item) in &mut document.paths.paths {
            for (method, operation) in
                [("get", &mut item.get), ("put", &mut item.put), ("post", &mut item.post), ("delete", &mut item.delete)]
            {
                if let Some(operation) = operation {
                    common(operation);
                    for parameter in operation.parameters.iter_mut().flatten() {
                        if let RefOr::T(parameter) = parameter {
                            narrow(parameter);
                        }
                    }
                    operation.operation_id = Some(operation_id(method, path));
                }
            }
        }
    }
}

fn common(operation: &mut Operation) {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let problem = ResponseBuilder::new()
        .description("A problem (RFC 9457). 429 and 503 carry `Retry-After`.")
        .content("application/problem+json", content)
        .build();
    operation.responses.responses.insert("default".into(), RefOr::T(problem));
    let none: [&str; 0] = [];
    let by = |scheme: &str| SecurityRequirement::new(scheme, none);
    let tags: Vec<&str> = operation.tags.iter().flatten().map(String::as_str).collect();
    operation.security = match tags[..] {
        ["admin"] => Some(vec![by("key"), by("session")]),
        ["claims" | "standby"] => Some(vec![by("key").add("user_header", none), by("key"), by("user"), by("user_header")]),
        _ => None,
    };
}

/// What a parameter's type does not say and a request is refused for. Names mean the same everywhere; ids in paths need none of it, since a wrong one is
/// as unknown as any other.
fn narrow(parameter: &mut Parameter) {
    let text = |pattern: &str| ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern)).build();
    let schema: Object = match (&parameter.parameter_in, parameter.name.as_str()) {
        (ParameterIn::Header, "Idempotency-Key") => text("^[!-~]{1,128}$"),
        (ParameterIn::Header, "If-Match") => text("^\"[0-9]{1,9}\"$"),
        (ParameterIn::Query, "limit") => ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).maximum(Some(200)).build(),
        (ParameterIn::Query, "user") => text("^[^\\x00-\\x1f\\x7f]{1,128}$"),
        (ParameterIn::Query, "format") => ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["json", "csv"])).build(),
        _ => return,
    };
    parameter.schema = Some(schema.into());
}

/// Handlers of different nouns share their verbs, so the path makes the id: `post_v1_offers_id_claims`.
fn operation_id(method: &str, path: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    std::iter::once(method).chain(words).collect::<Vec<_>>().join("_")
}

fn problem_schema() -> RefOr<Schema> {
    let text = |description: &str| ObjectBuilder::new().schema_type(Type::String).description(Some(description)).build();
    let codes = KINDS.iter().map(|kind| kind.code).collect::<Vec<_>>();
    let code = ObjectBuilder::new().schema_type(Type::String).description(Some("Stable")).enum_values(Some(codes)).build();
    let errors = ArrayBuilder::new().items(Ref::from_schema_name("FieldError")).description(Some("With `invalid_request`")).build();
    ObjectBuilder::new()
        .description(Some("Why something was not done. Some codes add fields of their own."))
        .property("type", text("urn:bunho:problem: and the code"))
        .required("type")
        .property("title", text("The code in words"))
        .required("title")
        .property("status", ObjectBuilder::new().schema_type(Type::Integer).description(Some("The HTTP status")).build())
        .required("status")
        .property("detail", text("What was wrong this time"))
        .required("detail")
        .property("code", code)
        .required("code")
        .property("request_id", text("Names the request in our logs"))
        .required("request_id")
        .property("errors", errors)
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router;
    use std::collections::BTreeSet;

    #[test]
    fn the_document_has_exactly_the_routes() {
        let document: serde_json::Value = serde_json::from_str(json()).expect("JSON");
        let described: BTreeSet<(String, String)> = document["paths"]
            .as_object()
            .expect("paths")
            .iter()
            .flat_map(|(path, item)| item.as_object().expect("operations").keys().map(|method| (method.to_uppercase(), path.clone())))
            .collect();
        let served = [router::PUBLIC, router::PROBES, router::ADMIN].concat();
        let served: BTreeSet<_> = served.into_iter().map(|(method, path)| (method.to_owned(), path.to_owned())).collect();
        assert_eq!(described, served);
        let pages = router::UNDOCUMENTED.concat();
        assert!(pages.iter().all(|(method, path)| !served.contains(&((*method).to_owned(), (*path).to_owned()))));
    }

    #[test]
    fn parameters_say_what_is_refused() {
        let document: serde_json::Value = serde_json::from_str(json()).expect("JSON");
        let schema = |path: &str, method: &str, name: &str| {
            let parameters = document["paths"][path][method]["parameters"].as_array().expect("parameters");
            parameters.iter().find(|parameter| parameter["name"] == name).map(|parameter| parameter["schema"].clone()).expect(name)
        };
        assert_eq!(schema("/v1/claims", "get", "limit")["maximum"], 200);
        assert_eq!(schema("/v1/offers/{id}/claims", "post", "Idempotency-Key")["pattern"], "^[!-~]{1,128}$");
        assert_eq!(schema("/admin/api/zones/{id}", "put", "If-Match")["pattern"], "^\"[0-9]{1,9}\"$");
        assert_eq!(schema("/admin/api/zones/{id}/minutes", "get", "format")["enum"], serde_json::json!(["json", "csv"]));
    }

    #[test]
    fn every_operation_shows_its_problems_and_every_reference_leads_somewhere() {
        let document: serde_json::Value = serde_json::from_str(json()).expect("JSON");
        let mut ids = BTreeSet::new();
        for (path, item) in document["paths"].as_object().expect("paths") {
            for (method, operation) in item.as_object().expect("operations") {
                assert!(operation["responses"]["default"]["content"]["application/problem+json"].is_object(), "{method} {path}");
                ids.insert(operation["operationId"].as_str().expect("an id").to_owned());
            }
        }
        let text = json();
        for at in text.match_indices("#/components/schemas/") {
            let name = text[at.0 + at.1.len()..].split('"').next().expect("a name");
            assert!(document["components"]["schemas"][name].is_object(), "{name} is not described");
        }
        assert_eq!(ids.len(), router::PUBLIC.len() + router::PROBES.len() + router::ADMIN.len(), "operation ids stand once");
    }
}
