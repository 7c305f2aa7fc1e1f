-- Who owns what, who may do what, and what a dump carries. Nothing is granted to PUBLIC.

-- Everything belongs to webhook_owner, so that no function runs with a superuser's rights, but for the event triggers'
-- functions, which have to work on tables of others. What PUBLIC has of a function or type by default is taken away,
-- and what the default privileges of whoever creates the extension gave to others.
DO $owner$
DECLARE
  member record;
  grantee text;
BEGIN
  FOR member IN
    SELECT coalesce(k.kind, CASE WHEN p.oid IS NOT NULL THEN 'FUNCTION' ELSE 'TYPE' END) AS kind,
      coalesce(c.oid::pg_catalog.regclass::text, p.oid::pg_catalog.regprocedure::text, t.oid::pg_catalog.regtype::text) AS name,
      coalesce(c.relacl, p.proacl, t.typacl) AS acl,
      CASE WHEN c.oid IS NOT NULL
        -- a sequence of an identity column follows its table (and a partition key depends on its table in the same way)
        THEN c.relkind OPERATOR(pg_catalog.=) 'S' AND EXISTS (SELECT FROM pg_catalog.pg_depend o WHERE o.objid OPERATOR(pg_catalog.=) c.oid AND o.deptype OPERATOR(pg_catalog.=) 'i')
        ELSE coalesce(p.prorettype OPERATOR(pg_catalog.=) 'pg_catalog.event_trigger'::pg_catalog.regtype, false) END AS stays
    FROM pg_catalog.pg_depend d
    JOIN pg_catalog.pg_extension x ON x.oid OPERATOR(pg_catalog.=) d.refobjid AND x.extname OPERATOR(pg_catalog.=) 'pg_webhook'
    LEFT JOIN pg_catalog.pg_class c ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
      AND c.oid OPERATOR(pg_catalog.=) d.objid
    LEFT JOIN (VALUES ('r'::"char", 'TABLE'), ('p', 'TABLE'), ('v', 'VIEW'), ('S', 'SEQUENCE')) k (relkind, kind)
      ON k.relkind OPERATOR(pg_catalog.=) c.relkind
    LEFT JOIN pg_catalog.pg_proc p ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
      AND p.oid OPERATOR(pg_catalog.=) d.objid
    -- a table's row type and an array type follow theirs
    LEFT JOIN pg_catalog.pg_type t ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_type'::pg_catalog.regclass
      AND t.oid OPERATOR(pg_catalog.=) d.objid
      AND EXISTS (SELECT FROM pg_catalog.pg_class r WHERE r.oid OPERATOR(pg_catalog.=) t.typrelid AND r.relkind OPERATOR(pg_catalog.=) 'c')
    WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass
      AND d.deptype OPERATOR(pg_catalog.=) 'e' AND (k.kind IS NOT NULL OR coalesce(p.oid, t.oid) IS NOT NULL)
    ORDER BY stays
  LOOP
    -- The owner before the rights: PostgreSQL keeps an object's rights as they are when the extension changes them, and a
    -- dump carries what differs from that, by the name of whoever created the extension here.
    IF NOT member.stays THEN
      EXECUTE pg_catalog.format('ALTER %s %s OWNER TO webhook_owner', member.kind, member.name);
    END IF;
    FOR grantee IN
      SELECT 'PUBLIC' UNION ALL
      SELECT pg_catalog.quote_ident(r.rolname) FROM pg_catalog.aclexplode(member.acl) a
      JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) a.grantee WHERE r.rolname OPERATOR(pg_catalog.<>) current_user
    LOOP
      EXECUTE pg_catalog.format('REVOKE ALL ON %s %s FROM %s',
        CASE member.kind WHEN 'VIEW' THEN 'TABLE' ELSE member.kind END, member.name, grantee);
    END LOOP;
  END LOOP;
END
$owner$;

GRANT USAGE ON SCHEMA webhook TO webhook_admin, webhook_emitter, webhook_reader, webhook_worker, webhook_tenant;

-- webhook_emitter
GRANT EXECUTE ON FUNCTION @extschema@.webhook_emit(text, jsonb, text, text, timestamptz, text) TO webhook_emitter, webhook_admin;

-- webhook_reader: no secrets, and no custom headers, which may hold some.
GRANT SELECT ON webhook.event, webhook.event_body, webhook.queue, webhook.attempt, webhook.notice, webhook.endpoint_health, webhook.setting,
  webhook.signature_scheme, webhook.source, webhook.endpoint_secret_hint, webhook.delivery, webhook.delivery_log,
  webhook.dead_letter, webhook.backlog, webhook.endpoint_stats, webhook.leaf, webhook.idempotency,
  webhook.event_type, webhook.tenant_member TO webhook_reader, webhook_admin;
GRANT SELECT (id, url, event_types, name, description, tenant, all_tenants, status, when_disabled, scheme, timeout, max_in_flight, rate_limit, ordered,
  retry_schedule, retry_jitter, retry_for, retry_after_max, success_on, give_up_on, disable_on, disable_after_failures,
  disable_after, client_certificate, ca_certificate, filter, envelope, transform, on_error, configured_by,
  on_delivered, on_failed, callback_configured_by,
  generation, revision, created_at, updated_at) ON webhook.endpoint TO webhook_reader;
GRANT EXECUTE ON FUNCTION webhook.setting_default(), webhook.setting(text), webhook.arm_id(), webhook.first_id_at(timestamptz),
  webhook.time_of_id(uuid), webhook.public_key(text), @extschema@.webhook_explain(uuid),
  @extschema@.webhook_log(int, text[], text[], text, timestamptz, timestamptz, uuid, int, int),
  @extschema@.webhook_endpoint_stats(int, interval), @extschema@.webhook_emitted(),
  -- called by those
  webhook.check_page(text[], text[], timestamptz, timestamptz, uuid, int, int), webhook.check_types(text[]),
  webhook.check_statuses(text[], text[]), webhook.pattern_problem(text),
  webhook.matches_type(text, text[]), webhook.is_current(xid) TO webhook_reader, webhook_admin;

-- webhook_tenant: one tenant's rows, see tenant.sql.
GRANT SELECT ON webhook.current_tenant, webhook.tenant_endpoint, webhook.tenant_delivery, webhook.tenant_attempt TO webhook_tenant;
GRANT EXECUTE ON FUNCTION @extschema@.webhook_tenant_log(int, text[], text[], timestamptz, timestamptz, uuid, int, int),
  -- called by it
  webhook.first_id_at(timestamptz), webhook.check_page(text[], text[], timestamptz, timestamptz, uuid, int, int),
  webhook.check_types(text[]), webhook.check_statuses(text[], text[]), webhook.pattern_problem(text),
  webhook.matches_type(text, text[]) TO webhook_tenant;

-- webhook_admin
GRANT SELECT, INSERT, UPDATE, DELETE ON webhook.endpoint, webhook.setting, webhook.signature_scheme, webhook.source,
  webhook.event_type, webhook.tenant_member TO webhook_admin;
GRANT INSERT ON webhook.endpoint_secret TO webhook_admin;
GRANT EXECUTE ON FUNCTION
  @extschema@.webhook_endpoint_create(text, text[], text, text, text, text),
  @extschema@.webhook_rotate_secret(int, interval, text),
  @extschema@.webhook_attach(regclass, text, text[], jsonb, text[], text[], text, text, text, text, text, boolean),
  @extschema@.webhook_detach(regclass, text),
  @extschema@.webhook_pause(int), @extschema@.webhook_resume(int),
  @extschema@.webhook_disable(int, text), @extschema@.webhook_enable(int, text),
  @extschema@.webhook_backoff(interval, float8, interval, int),
  @extschema@.webhook_test(int, text),
  @extschema@.webhook_resend(uuid, int),
  @extschema@.webhook_replay(int, timestamptz, timestamptz, text[], text[], boolean),
  @extschema@.webhook_cancel(uuid, int),
  @extschema@.webhook_forget(text, text),
  @extschema@.webhook_arm(),
  @extschema@.webhook_sign(text, text, text, timestamptz, text),
  @extschema@.webhook_verify(jsonb, text, text[], text, interval, timestamptz),
  webhook.janitor(timestamptz),
  -- called by webhook_attach() and the trigger on webhook.source, which run as whoever attaches
  webhook.capture(), webhook.ensure_triggers(regclass), webhook.check_attachable(pg_class),
  webhook.check_names(webhook.source), webhook.check_on_its_own(regclass),
  webhook.check_source_expressions(regclass, text, text, text), webhook.check_expression(oid, text, text),
  webhook.check_body_function(oid, text),
  -- and by the one on webhook.endpoint
  webhook.filter_problem(text), webhook.envelope_problem(text), webhook.check_transform(text), webhook.check_callback(text),
  webhook.check_copier(text, text),
  webhook.default_event_name(text, text), webhook.refuse(text, text, text, text), webhook.in_copy(),
  webhook.event_type_problem(text),
  -- and by the one on webhook.event_type
  webhook.schema_problem(jsonb)
TO webhook_admin;
GRANT EXECUTE ON FUNCTION @extschema@.webhook_verify(jsonb, text, text[], text, interval, timestamptz) TO webhook_reader, webhook_emitter;

-- webhook_worker: functions only, and the secrets through them.
GRANT SELECT ON webhook.endpoint_secret TO webhook_worker;
GRANT EXECUTE ON FUNCTION
  webhook.worker_hello(), webhook.worker_join(), webhook.worker_take_slots(int, int[], int), webhook.worker_release_slot(int, int),
  webhook.worker_beat(), webhook.worker_endpoints(int[]),
  webhook.load_owed(webhook.queue[], bigint), webhook.load_page(webhook.queue[], bigint, timestamptz),
  webhook.worker_tail(int, int[], int[], text, text, bigint, uuid, int, bigint),
  webhook.tail_page(int, int[], int[], text, text, bigint, uuid, int),
  webhook.backlog_page(int, uuid, text, int), webhook.due_page(int, int), webhook.next_due(int), webhook.heads_page(int, bigint[]),
  webhook.worker_backlog(int, uuid, text, int, bigint), webhook.worker_due(int, int, bigint),
  webhook.worker_heads(int, bigint[], bigint),
  webhook.worker_pending(int, int[]),
  webhook.worker_held(int[], uuid[]),
  webhook.worker_record(int[], uuid[], bigint[], int[], text[], float8[], int[], uuid[], timestamptz[], float8[], int[],
    text[], text[], text[], text[], text[], text[], text[]),
  webhook.worker_limit_callback(), webhook.worker_call_back(int, uuid), webhook.worker_callback_failed(int, uuid, text),
  webhook.worker_janitor(), webhook.worker_claim_mail(int), webhook.worker_mailed(bigint, boolean)
TO webhook_worker;

-- A dump carries every row but webhook.installation's and those that are shipped. One statement each: PostgreSQL
-- keeps the list in one row.
SELECT pg_catalog.pg_extension_config_dump('webhook.setting', '');
SELECT pg_catalog.pg_extension_config_dump('webhook.armed', '');
SELECT pg_catalog.pg_extension_config_dump('webhook.signature_scheme', 'WHERE NOT builtin');
SELECT pg_catalog.pg_extension_config_dump('webhook.endpoint', '');
SELECT pg_catalog.pg_extension_config_dump('webhook.endpoint_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('webhook.generation', '');
SELECT pg_catalog.pg_extension_config_dump('webhook.endpoint_secret', '');
SELECT pg_catalog.pg_extension_config_dump('webhook.endpoint_health', '');
SELECT pg_catalog.pg_extension_config_dump('webhook.event_default', '');
SELECT pg_catalog.pg_extension_config_dump('webhook.event_body_default', '');
SELECT pg_catalog.pg_extension_config_dump('webhook.attempt_default', '');
SELECT pg_catalog.pg_extension_config_dump('webhook.queue', '');
SELECT pg_catalog.pg_extension_config_dump('webhook.idempotency', '');
SELECT pg_catalog.pg_extension_config_dump('webhook.event_type', '');
SELECT pg_catalog.pg_extension_config_dump('webhook.notice', '');
SELECT pg_catalog.pg_extension_config_dump('webhook.notice_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('webhook.tenant_member', '');
SELECT pg_catalog.pg_extension_config_dump('webhook.source',
  'WHERE EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) relation)');
