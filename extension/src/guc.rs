//! Settings of the extension (`pg_webhook.*`), for whoever emits.

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};
use std::ffi::CString;

/// Nothing is emitted or captured while this is on; any user may `SET LOCAL` it.
pub static SUPPRESS: GucSetting<bool> = GucSetting::<bool>::new(false);
/// Endpoint URLs may be plain http.
pub static ALLOW_HTTP: GucSetting<bool> = GucSetting::<bool>::new(false);
/// Largest body of an event, in bytes.
pub static MAX_BODY_BYTES: GucSetting<i32> = GucSetting::<i32>::new(1024 * 1024);
/// Read by sql/tenant.sql.
static TENANT: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);

pub fn register() {
    GucRegistry::define_bool_guc(
        c"pg_webhook.suppress",
        c"Emit and capture no events while on.",
        c"For seeding and repairs: SET LOCAL pg_webhook.suppress = on.",
        &SUPPRESS,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"pg_webhook.allow_http",
        c"Allow endpoint URLs with plain http.",
        c"For development; deliveries over plain http can be read on the way.",
        &ALLOW_HTTP,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"pg_webhook.max_body_bytes",
        c"Largest body of an event, in bytes.",
        c"A larger one is refused with SQLSTATE 54000 where it is emitted.",
        &MAX_BODY_BYTES,
        256,
        64 * 1024 * 1024,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_string_guc(
        c"pg_webhook.tenant",
        c"The tenant whose rows the views webhook.tenant_* show.",
        c"For roles that webhook.tenant_member trusts to set it; others see their own tenant whatever it is.",
        &TENANT,
        GucContext::Userset,
        GucFlags::default(),
    );
}
