-- The database's encoding, and the roles of pg_webhook: who may configure, emit, read, deliver; and the two nobody logs in as.
--
-- webhook_owner     owns every table and function; may not log in; nobody is a member of it
-- webhook_nobody    may do nothing: rows are rendered, and conditions evaluated, as this role
-- webhook_admin     configures endpoints, sources and settings, replays and resends
-- webhook_emitter   may call webhook_emit()
-- webhook_reader    reads events, deliveries and the log; no secrets
-- webhook_worker    the worker's login is a member of it
-- webhook_tenant    sees one tenant's endpoints, deliveries and attempts
--
-- Roles belong to the whole cluster, so a second database finds them made. One that could be used to
-- take over the extension (it can log in, is a superuser, passes row-level security, or somebody is a
-- member of the owner) was not made here and is refused.
-- The extension writes its tables as heap tables.
SET LOCAL default_table_access_method = heap;

DO $encoding$
BEGIN
  IF pg_catalog.current_setting('server_encoding') OPERATOR(pg_catalog.<>) 'UTF8' THEN
    RAISE EXCEPTION USING ERRCODE = '22023',
      MESSAGE = pg_catalog.format('the encoding of this database is %s; pg_webhook needs UTF8', pg_catalog.current_setting('server_encoding')),
      HINT = 'Bodies are JSON, and JSON is UTF-8. CREATE DATABASE … ENCODING ''UTF8'' TEMPLATE template0.';
  END IF;
END
$encoding$;

DO $roles$
DECLARE
  role_name text;
  existing pg_catalog.pg_roles;
BEGIN
  FOREACH role_name IN ARRAY pg_catalog.string_to_array(
    'webhook_owner,webhook_nobody,webhook_admin,webhook_emitter,webhook_reader,webhook_worker,webhook_tenant', ',')
  LOOP
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) role_name) THEN
      BEGIN
        EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN NOSUPERUSER NOBYPASSRLS', role_name);
      EXCEPTION WHEN duplicate_object OR unique_violation THEN
        NULL; -- Made meanwhile, with another database's extension.
      END;
    END IF;
    SELECT r.* INTO existing FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) role_name;
    IF existing.rolcanlogin OR existing.rolsuper OR existing.rolbypassrls OR existing.rolcreaterole THEN
      RAISE EXCEPTION USING ERRCODE = '42501',
        MESSAGE = pg_catalog.format('role %I exists and may log in, is a superuser, creates roles or bypasses row-level security', role_name),
        HINT = 'pg_webhook needs this name for a group role. Rename or drop the existing role, then create the extension again.';
    ELSIF role_name OPERATOR(pg_catalog.=) ANY (ARRAY['webhook_owner', 'webhook_nobody'])
      AND (EXISTS (SELECT FROM pg_catalog.pg_auth_members m WHERE m.roleid OPERATOR(pg_catalog.=) existing.oid)
        OR EXISTS (SELECT FROM pg_catalog.pg_auth_members m WHERE m.member OPERATOR(pg_catalog.=) existing.oid))
    THEN
      RAISE EXCEPTION USING ERRCODE = '42501',
        MESSAGE = pg_catalog.format('role %I has members or is a member of other roles', role_name),
        HINT = pg_catalog.format('Nobody may act as %I. Revoke these memberships, then create the extension again.', role_name);
    END IF;
  END LOOP;
END
$roles$;

CREATE SCHEMA webhook AUTHORIZATION webhook_owner;
COMMENT ON SCHEMA webhook IS 'pg_webhook: endpoints, events, the queue of deliveries and the log of attempts';
