-- webhook.notice: changes of state people want to know. One row per change, not per failure.
CREATE TABLE webhook.notice (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind text NOT NULL,
  endpoint_id int,
  event_id uuid,
  tenant text,
  message text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  mail_due timestamptz,
  mail_tries int NOT NULL DEFAULT 0,
  mailed_at timestamptz
);
CREATE INDEX notice_endpoint ON webhook.notice (endpoint_id, id);
CREATE INDEX notice_mail ON webhook.notice (mail_due) WHERE mail_due IS NOT NULL;
COMMENT ON TABLE webhook.notice IS 'Changes of state; each is also a NOTIFY on webhook_notice, an event webhook.<kind> and, if there are notice_recipients, an e-mail';
COMMENT ON COLUMN webhook.notice.kind IS 'endpoint.failing | endpoint.disabled | endpoint.recovered | delivery.exhausted | callback.failed | callback.recovered';
COMMENT ON COLUMN webhook.notice.mail_due IS 'when a worker is to send it by e-mail (again); NULL: not, or no longer';
COMMENT ON COLUMN webhook.notice.mailed_at IS 'when a mail server took it';

-- Writes a notice, tells whoever listens on webhook_notice, and emits it as the event webhook.<kind>. The endpoint that it is about does not get that event: what it
-- answers to it would be the next change of state. The event's key says which one that is (see extension/src/store.rs).
-- A notice that can't be an event (it is larger than pg_webhook.max_body_bytes, say) stays a notice: what it is about is
-- being recorded, and must be.
CREATE FUNCTION webhook.raise_notice(kind text, endpoint_id int, event_id uuid, message text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  notice_id bigint;
  owner_tenant text := (SELECT e.tenant FROM webhook.endpoint e WHERE e.id = raise_notice.endpoint_id);
BEGIN
  -- Whoever is told of it must find it after a crash: the worker otherwise commits asynchronously.
  PERFORM set_config('synchronous_commit', 'on', true);
  INSERT INTO webhook.notice AS n (kind, endpoint_id, event_id, tenant, message, mail_due)
    VALUES (raise_notice.kind, raise_notice.endpoint_id, raise_notice.event_id, owner_tenant, raise_notice.message,
      CASE WHEN webhook.setting('notice_recipients') <> '' THEN clock_timestamp() END)
    RETURNING n.id INTO notice_id;
  PERFORM pg_notify('webhook_notice', notice_id::text);
  BEGIN
    PERFORM webhook.emit('webhook.' || raise_notice.kind,
      jsonb_build_object('endpoint_id', raise_notice.endpoint_id, 'event_id', raise_notice.event_id,
        'notice_id', notice_id, 'message', raise_notice.message), owner_tenant, 'endpoint:' || raise_notice.endpoint_id, NULL, NULL);
  EXCEPTION WHEN OTHERS THEN
    RAISE WARNING USING MESSAGE = format('notice %s could not be emitted as an event: %s', notice_id, SQLERRM),
      HINT = 'webhook.notice has it; it was sent to nobody who subscribes to webhook.*.';
  END;
  RETURN notice_id;
END
$$;
