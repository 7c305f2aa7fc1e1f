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

CREATE VIEW webhook.tenant_attempt WITH (security_barrier) AS
  SELECT l.event_id, l.number, l.endpoint_id, l.type, l.tenant, l.key, l.outcome, l.final, l.status_code, l.error,
    l.started_at, l.duration, l.recorded_at, l.url,
    -- Custom headers are the house's: the log has their names.
    (SELECT jsonb_object_agg(h.key, h.value) FROM jsonb_each(l.request_headers) h WHERE h.value <> '"(redacted)"') AS request_headers,
    l.request_body, l.response_headers, l.response_body, l.erased, l.attempt_id
  FROM webhook.delivery_log l JOIN webhook.endpoint e ON e.id = l.endpoint_id AND e.tenant = l.tenant
  WHERE l.tenant IN (SELECT c.tenant FROM webhook.current_tenant c);
COMMENT ON VIEW webhook.tenant_attempt IS 'The current tenant''s requests to its own endpoints, and what came back';
