-- What a tenant may see for itself: its endpoints, deliveries and attempts; no secrets, no custom headers.
--
-- Whoever is to see something is a member of webhook_tenant and stands, himself or with a role he inherits from, in
-- webhook.tenant_member:
--   a role with a tenant    sees that tenant's rows. That is the boundary for people who write SQL: nothing they SET
--                           changes it.
--   a role without a tenant sees those of the tenant in the setting pg_webhook.tenant. For applications that serve many
--                           tenants through one role, and run SET LOCAL pg_webhook.tenant themselves: any user may set
--                           it, so whoever writes SQL as such a role sees every tenant.
-- A delivery is a tenant's if both the event and the endpoint are: a house endpoint that gets all tenants' events stays
-- the house's own matter. The views are security barriers: a function in a condition sees no row that is not shown.
CREATE TABLE webhook.tenant_member (
  role_name text NOT NULL,
  tenant text
);
CREATE UNIQUE INDEX tenant_member_once ON webhook.tenant_member (role_name, coalesce(tenant, ''), (tenant IS NULL));
COMMENT ON TABLE webhook.tenant_member IS 'Which roles see which tenant''s rows in webhook.tenant_endpoint, tenant_delivery and tenant_attempt';
COMMENT ON COLUMN webhook.tenant_member.role_name IS 'a role, or one that others are members of; they need to be members of webhook_tenant, too';
COMMENT ON COLUMN webhook.tenant_member.tenant IS 'NULL: the one in pg_webhook.tenant, for an application that is trusted to set it';

-- A restore may bring rows before the roles.
CREATE FUNCTION webhook.check_tenant_member() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF webhook.in_copy() THEN
    RETURN NEW;
  END IF;
  IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = NEW.role_name) THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('there is no role %s', coalesce('"' || left(NEW.role_name, 200) || '"', 'NULL')),
      HINT = 'Create the role first; its name is written without quotes.';
  ELSIF octet_length(NEW.tenant) NOT BETWEEN 1 AND 256 THEN
    PERFORM webhook.refuse('tenant_member.tenant', NEW.tenant, 'it has 1 to 256 bytes');
  END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER check_tenant_member BEFORE INSERT OR UPDATE ON webhook.tenant_member
  FOR EACH ROW EXECUTE FUNCTION webhook.check_tenant_member();

CREATE VIEW webhook.current_tenant WITH (security_barrier) AS
  SELECT DISTINCT t.tenant
  FROM webhook.tenant_member m
  JOIN pg_catalog.pg_roles r ON r.rolname = m.role_name
  CROSS JOIN LATERAL (SELECT coalesce(m.tenant, nullif(current_setting('pg_webhook.tenant', true), '')) AS tenant) t
  WHERE t.tenant IS NOT NULL AND pg_has_role(current_user, r.oid, 'USAGE');
COMMENT ON VIEW webhook.current_tenant IS 'The tenants whose rows the current role sees';

CREATE VIEW webhook.tenant_endpoint WITH (security_barrier) AS
  SELECT e.id AS endpoint_id, e.tenant, e.name, e.description, e.url, e.event_types, e.status, e.scheme, e.timeout,
    e.retry_schedule, h.last_success_at, h.consecutive_failures, h.failing_since, e.created_at, e.updated_at
  FROM webhook.endpoint e LEFT JOIN webhook.endpoint_health h ON h.endpoint_id = e.id
  WHERE e.tenant IN (SELECT c.tenant FROM webhook.current_tenant c);
COMMENT ON VIEW webhook.tenant_endpoint IS 'The current tenant''s endpoints';

CREATE VIEW webhook.tenant_delivery WITH (security_barrier) AS
  SELECT d.* FROM webhook.delivery d JOIN webhook.endpoint e ON e.id = d.endpoint_id AND e.tenant = d.tenant
  WHERE d.tenant IN (SELECT c.tenant FROM webhook.current_tenant c);
COMMENT ON VIEW webhook.tenant_delivery IS 'The current tenant''s deliveries to its own endpoints, as webhook.delivery';

-- The order stands in the view: a barrier keeps the planner from seeing that a page is all that is wanted of it.
CREATE VIEW webhook.tenant_attempt WITH (security_barrier) AS
  SELECT l.event_id, l.number, l.endpoint_id, l.type, l.tenant, l.key, l.outcome, l.final, l.status_code, l.error,
    l.started_at, l.duration, l.recorded_at, l.url,
    -- Custom headers are the house's: the log has their names.
    (SELECT json_object_agg(h.key, h.value) FROM json_each(l.request_headers) h WHERE h.value #>> '{}' <> '(redacted)') AS request_headers,
    l.request_body, l.response_headers, l.response_body, l.erased, l.attempt_id
  FROM webhook.delivery_log l JOIN webhook.endpoint e ON e.id = l.endpoint_id AND e.tenant = l.tenant
  WHERE l.tenant IN (SELECT c.tenant FROM webhook.current_tenant c)
  ORDER BY l.event_id DESC, l.number DESC;
COMMENT ON VIEW webhook.tenant_attempt IS 'The current tenant''s requests to its own endpoints, and what came back, newest first';

-- A page of webhook.tenant_attempt: webhook_log() for tenants, with the same arguments. It runs as whoever calls it, so it
-- shows what the views show.
CREATE FUNCTION @extschema@.webhook_tenant_log(
  endpoint_id int DEFAULT NULL, types text[] DEFAULT NULL, statuses text[] DEFAULT NULL,
  since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL,
  before_event uuid DEFAULT NULL, before_number int DEFAULT NULL, page_size int DEFAULT 50
) RETURNS SETOF webhook.tenant_attempt
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET enable_sort = off
SET jit = off
AS $$
#variable_conflict use_variable
DECLARE
  from_id uuid := webhook.first_id_at(since);
  to_id uuid := webhook.first_id_at(until);
  is_owed boolean := statuses && '{pending,retrying}';
BEGIN
  PERFORM webhook.check_page(types, statuses, since, until, before_event, before_number, page_size);
  RETURN QUERY
  -- A page of each endpoint, by index: the log of all tenants may be far longer.
  SELECT page.* FROM webhook.tenant_endpoint e CROSS JOIN LATERAL (
    SELECT l.* FROM webhook.tenant_attempt l
    WHERE l.endpoint_id = e.endpoint_id
      AND (from_id IS NULL OR l.event_id >= from_id) AND (to_id IS NULL OR l.event_id < to_id)
      AND (before_event IS NULL OR (l.event_id <= before_event AND (l.event_id, l.number) < (before_event, coalesce(before_number, 0))))
      AND (types IS NULL OR webhook.matches_type(l.type, types))
      AND (statuses IS NULL OR l.outcome = ANY (statuses)
        OR (is_owed AND EXISTS (SELECT FROM webhook.tenant_delivery d WHERE d.endpoint_id = l.endpoint_id AND d.event_id = l.event_id
          AND d.status = ANY (statuses))))
    ORDER BY l.event_id DESC, l.number DESC FETCH FIRST page_size ROWS WITH TIES) page
  WHERE endpoint_id IS NULL OR e.endpoint_id = endpoint_id
  ORDER BY page.event_id DESC, page.number DESC FETCH FIRST page_size ROWS WITH TIES;
END
$$;
COMMENT ON FUNCTION @extschema@.webhook_tenant_log(int, text[], text[], timestamptz, timestamptz, uuid, int, int)
  IS 'A page of webhook.tenant_attempt, newest first: the current tenant''s own log, by endpoint, type patterns, statuses and time of the event. The next page begins before event_id and number of the last row';
