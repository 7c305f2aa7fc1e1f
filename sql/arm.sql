-- The clone guard: a restored copy of a database does not send the original's webhooks.
--
-- webhook.installation has one row, made with the extension and left out of dumps.
-- webhook.armed has at most one row, made with the first endpoint and carried by dumps.
-- Armed means that they agree, or that there is neither such a row nor an endpoint yet. A fresh install and a physical
-- copy (failover, pg_upgrade) are armed; a dump restored into a new database meets another installation, so nothing is
-- sent until webhook_arm().
CREATE TABLE webhook.installation (
  id uuid NOT NULL DEFAULT gen_random_uuid(),
  created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE webhook.installation IS 'Which installation this is; not carried by a dump';
INSERT INTO webhook.installation DEFAULT VALUES;

CREATE TABLE webhook.armed (
  installation_id uuid NOT NULL,
  armed_at timestamptz NOT NULL DEFAULT now(),
  armed_by text NOT NULL DEFAULT session_user
);
CREATE UNIQUE INDEX armed_once ON webhook.armed ((true));
COMMENT ON TABLE webhook.armed IS 'Which installation was armed last; carried by a dump';

-- The id of this installation if it is armed, NULL if it is not.
CREATE FUNCTION webhook.arm_id() RETURNS uuid
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT i.id FROM webhook.installation i
  WHERE EXISTS (SELECT FROM webhook.armed a WHERE a.installation_id = i.id)
    -- Endpoints that came by replication, or without the rest of their dump, arm nothing.
    OR NOT EXISTS (SELECT FROM webhook.armed) AND NOT EXISTS (SELECT FROM webhook.endpoint)
$$;
COMMENT ON FUNCTION webhook.arm_id() IS 'Id of this installation when deliveries may be sent from it, else NULL';

-- Allows deliveries to be sent from this database, as the one that owes them.
-- Gives the installation a new id (workers run with --arm-id of the old one stop) and stamps what is queued with
-- this transaction, since transaction ids of another cluster mean nothing here.
CREATE FUNCTION @extschema@.webhook_arm() RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  installation_id uuid := gen_random_uuid();
BEGIN
  LOCK TABLE webhook.armed IN EXCLUSIVE MODE;
  UPDATE webhook.installation SET id = installation_id;
  DELETE FROM webhook.armed;
  INSERT INTO webhook.armed (installation_id, armed_by) VALUES (installation_id, session_user);
  UPDATE webhook.queue SET xid = pg_current_xact_id();
  NOTIFY webhook_wake;
  RETURN installation_id;
END
$$;
COMMENT ON FUNCTION @extschema@.webhook_arm() IS 'Let workers deliver from this database, e.g. after a restore; returns the arm id';
