//! The whole route table.
//!
//! Each line says what the route does to the world (which decides what a timeout means), how it is called, and who
//! handles it. `openapi.rs` describes the same routes; a test holds the two to each other.

use crate::app::App;
use crate::demo::{self, Demo};
use crate::http::edge::{Edge, Work, method_not_allowed, not_found};
use crate::http::{admin, claims, offers, operations, pages, passes, standby, traffic, wait, zones};
use axum::routing::{MethodFilter, on};
use axum::{Extension, Router};
use std::sync::Arc;

/// A method and a path: the table as data, for the test that compares it with the OpenAPI document.
#[cfg(test)]
pub(crate) type Route = (&'static str, &'static str);

macro_rules! routes {
    ($($(#[$doc:meta])* $group:ident, $table:ident { $($work:ident $method:ident $path:literal => $handler:path,)* })*) => {$(
        $(#[$doc])*
        fn $group(app: &App) -> Router<Arc<App>> {
            Router::new()$(.route(
                $path,
                on(MethodFilter::$method, Edge::new($handler, Work::$work, app.metrics.route(stringify!($method), $path))),
            ))*
        }

        $(#[$doc])*
        #[cfg(test)]
        pub(crate) const $table: &[Route] = &[$((stringify!($method), $path)),*];
    )*};
}

routes! {
    /// For clients and the services behind them.
    public_routes, PUBLIC {
        Write POST "/traffic/wait" => traffic::wait,
        Write POST "/traffic/entry" => traffic::entry,
        Write POST "/traffic/leave" => traffic::leave,
        Stream GET "/traffic/stream" => traffic::stream,
        Read GET "/zones/{zone}/status" => zones::status,
        Probe GET "/verify" => passes::verify,
        Probe GET "/.well-known/jwks.json" => passes::jwks,

        Read GET "/v1/offers" => offers::list,
        Read GET "/v1/offers/{id}" => offers::read,
        Stream GET "/v1/offers/{id}/stock" => offers::stock,
        Write POST "/v1/offers/{id}/claims" => offers::claim,
        Write POST "/v1/offers/{id}/standby" => standby::join,
        Read GET "/v1/claims" => claims::list,
        Read GET "/v1/claims/{id}" => claims::read,
        Write POST "/v1/claims/{id}/confirm" => claims::confirm,
        Write POST "/v1/claims/{id}/release" => claims::release,
        Read GET "/v1/standby/{id}" => standby::read,
        Write DELETE "/v1/standby/{id}" => standby::leave,
    }

    /// For whoever watches the process; on every address.
    probe_routes, PROBES {
        Probe GET "/healthz" => operations::healthz,
        Probe GET "/readyz" => operations::readyz,
    }

    /// For operators; on an address of their own where there is one.
    admin_routes, ADMIN {
        Read GET "/admin/api/zones" => admin::zones::list,
        Read GET "/admin/api/zones/{id}" => admin::zones::read,
        Write PUT "/admin/api/zones/{id}" => admin::zones::put,
        Write DELETE "/admin/api/zones/{id}" => admin::zones::delete,
        Write POST "/admin/api/zones/{id}/pause" => admin::zones::pause,
        Write POST "/admin/api/zones/{id}/resume" => admin::zones::resume,
        Write POST "/admin/api/zones/{id}/reset" => admin::zones::reset,
        Read GET "/admin/api/zones/{id}/minutes" => admin::zones::minutes,
        Read GET "/admin/api/zones/{id}/page" => admin::pages::read,
        Write PUT "/admin/api/zones/{id}/page" => admin::pages::put,
        Read GET "/admin/api/offers" => admin::offers::list,
        Read GET "/admin/api/offers/{id}" => admin::offers::read,
        Write PUT "/admin/api/offers/{id}" => admin::offers::put,
        Write DELETE "/admin/api/offers/{id}" => admin::offers::delete,
        Write POST "/admin/api/offers/{id}/restock" => admin::offers::restock,
        Write POST "/admin/api/offers/{id}/close" => admin::offers::close,
        Read GET "/admin/api/offers/{id}/claims" => admin::offers::claims,
        Read GET "/admin/api/zones/{id}/live" => admin::live::read,
        Read GET "/admin/api/offers/{id}/sales" => admin::sales::read,
        Read GET "/admin/api/offers/{id}/standby" => admin::standby::list,
        Read GET "/admin/api/overview" => admin::overview::read,
        Read GET "/admin/api/system" => admin::system::read,
        Read GET "/admin/api/claims" => admin::claims::search,
        Read GET "/admin/api/claims/{id}" => admin::claims::read,
        Write POST "/admin/api/claims/{id}/return" => admin::claims::take_back,
        Read GET "/admin/api/keys" => admin::keys::list,
        Write POST "/admin/api/keys" => admin::keys::make,
        Write DELETE "/admin/api/keys/{id}" => admin::keys::revoke,
        Read GET "/admin/api/pass-keys" => admin::pass_keys::list,
        Write POST "/admin/api/pass-keys" => admin::pass_keys::rotate,
        Write DELETE "/admin/api/pass-keys/{kid}" => admin::pass_keys::drop_key,
        Read GET "/admin/api/ticket-keys" => admin::ticket_keys::list,
        Write POST "/admin/api/ticket-keys" => admin::ticket_keys::rotate,
        Write DELETE "/admin/api/ticket-keys/{id}" => admin::ticket_keys::drop_key,
        Read GET "/admin/api/session" => admin::session::read,
        Write POST "/admin/api/session" => admin::session::open,
        Write DELETE "/admin/api/session" => admin::session::close,
        Read GET "/admin/api/sessions" => admin::sessions::list,
        Write DELETE "/admin/api/sessions/{id}" => admin::sessions::end,
        Read GET "/admin/api/accounts" => admin::accounts::list,
        Write POST "/admin/api/accounts" => admin::accounts::make,
        Write PUT "/admin/api/accounts/{name}" => admin::accounts::put,
        Write DELETE "/admin/api/accounts/{name}" => admin::accounts::delete,
        Write POST "/admin/api/account/password" => admin::account::password,
        Write POST "/admin/api/account/totp" => admin::account::offer_totp,
        Write PUT "/admin/api/account/totp" => admin::account::turn_totp_on,
        Write DELETE "/admin/api/account/totp" => admin::account::turn_totp_off,
        Read GET "/admin/api/webhooks" => admin::webhooks::list,
        Write POST "/admin/api/webhooks" => admin::webhooks::make,
        Read GET "/admin/api/webhooks/{id}" => admin::webhooks::read,
        Write PUT "/admin/api/webhooks/{id}" => admin::webhooks::put,
        Write DELETE "/admin/api/webhooks/{id}" => admin::webhooks::delete,
        Write POST "/admin/api/webhooks/{id}/secret" => admin::webhooks::rotate,
        Long POST "/admin/api/webhooks/{id}/test" => admin::webhooks::test,
        Read GET "/admin/api/webhooks/{id}/deliveries" => admin::deliveries::list,
        Write POST "/admin/api/webhooks/{id}/redeliver" => admin::deliveries::redeliver,
        Write POST "/admin/api/webhooks/{id}/discard" => admin::deliveries::discard,
        Read GET "/admin/api/audit" => admin::audit::list,
        Long POST "/admin/api/backup" => admin::backup::begin,
        Long POST "/admin/api/forget" => admin::forget::forget,
        Long POST "/admin/api/reconcile" => admin::reconcile::run,
        Long POST "/admin/api/rehearsal" => admin::rehearsal::run,
        Read GET "/admin/api/rehearsal" => admin::rehearsal::spent,
        Probe GET "/metrics" => operations::metrics,
        Probe GET "/openapi.json" => operations::openapi,
    }

    /// The console, where administration is.
    console_routes, CONSOLE {
        Probe GET "/" => pages::index,
    }

    /// For people; not part of the API. On every address: the console shows how a waiting page will look.
    page_routes, PAGES {
        Probe GET "/assets/{name}" => pages::asset,
        Probe GET "/wait/{zone}" => wait::page,
        Write POST "/wait/{zone}" => wait::act,
        Probe GET "/wait/{zone}/logo" => wait::logo,
    }

    /// The demo's pages and its shop, where it runs; no part of the API.
    demo_routes, DEMO {
        Probe GET "/demo" => pages::demo,
        Read GET "/demo/api/v1/claims" => demo::claims,
        Write POST "/demo/api/v1/offers/{id}/claims" => demo::claim,
        Read GET "/demo/api/v1/claims/{id}" => demo::read_claim,
        Write POST "/demo/api/v1/claims/{id}/release" => demo::release,
        Write POST "/demo/api/v1/offers/{id}/standby" => demo::join_standby,
        Read GET "/demo/api/v1/standby/{id}" => demo::read_standby,
        Write DELETE "/demo/api/v1/standby/{id}" => demo::leave_standby,
        Write POST "/demo/api/pay" => demo::pay,
        Write POST "/demo/api/visitor" => demo::be_somebody_else,
        Read GET "/demo/api/crowd" => demo::look_at_crowd,
        Write POST "/demo/api/crowd" => demo::bring_crowd,
        Write DELETE "/demo/api/crowd" => demo::call_off_crowd,
    }

    /// For people who administer.
    docs_routes, DOCS {
        Probe GET "/docs" => pages::docs,
        Probe GET "/docs/" => pages::docs_index,
        Probe GET "/docs/{*file}" => pages::docs_file,
    }
}

/// What the address for clients serves: everything, unless administration has an address of its own. The demo only where it runs.
pub fn public(app: Arc<App>, demo: Option<Arc<Demo>>) -> Router {
    let mut router = public_routes(&app).merge(probe_routes(&app)).merge(page_routes(&app));
    if app.config.admin_listen.is_none() {
        router = router.merge(admin_routes(&app)).merge(docs_routes(&app)).merge(console_routes(&app));
    }
    if let Some(demo) = demo {
        router = router.merge(demo_routes(&app).layer(Extension(demo)));
    }
    finished(router, app)
}

/// What the demo calls: the API as any client has it, and nothing of the demo itself.
pub(crate) fn for_demo(app: Arc<App>) -> Router {
    finished(public_routes(&app), app)
}

/// What the address for operators serves.
pub fn admin(app: Arc<App>) -> Router {
    let pages = console_routes(&app).merge(page_routes(&app));
    finished(admin_routes(&app).merge(docs_routes(&app)).merge(probe_routes(&app)).merge(pages), app)
}

/// Paths and methods that are no route are answered like everything else, and counted together.
fn finished(router: Router<Arc<App>>, app: Arc<App>) -> Router {
    router
        .fallback(Edge::new(not_found, Work::Probe, app.metrics.route("ANY", "(no route)")))
        .method_not_allowed_fallback(Edge::new(method_not_allowed, Work::Probe, app.metrics.route("ANY", "(no method)")))
        .with_state(app)
}

/// Routes that the OpenAPI document leaves out: pages are for people.
#[cfg(test)]
pub(crate) const UNDOCUMENTED: &[&[Route]] = &[CONSOLE, PAGES, DEMO, DOCS];

#[cfg(test)]
#[path = "router/tests.rs"]
mod tests;
