-- Sends a test: an event {"test": true} of this type, to this endpoint alone, whatever it subscribes to. Enveloped, signed,
-- sent, retried and logged as any other; it belongs to the endpoint's tenant. A paused endpoint gets it when it is resumed.
-- Returns the event's id: its row in webhook.delivery says what came of it. NULL while pg_webhook.suppress is on.
CREATE FUNCTION @extschema@.webhook_test(endpoint_id int, event_type text DEFAULT 'webhook.test') RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  problem text := CASE
    WHEN event_type IS NULL THEN 'event_type is NULL'
    WHEN event_type <> 'webhook.test' THEN webhook.event_type_problem(event_type) END;
BEGIN
  IF problem IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = problem,
      HINT = 'Give webhook.test, or a type of your own such as order.paid.';
  END IF;
  IF webhook.lock_endpoint(endpoint_id) = 'disabled' THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('endpoint %s is disabled', endpoint_id),
      HINT = 'webhook_enable() enables it.';
  END IF;
  RETURN webhook.emit_to(endpoint_id, event_type, '{"test": true}',
    (SELECT e.tenant FROM webhook.endpoint e WHERE e.id = endpoint_id));
END
$$;
COMMENT ON FUNCTION @extschema@.webhook_test(int, text)
  IS 'Send a test event to one endpoint, whatever it subscribes to; returns the event''s id, whose row in webhook.delivery says what came of it';
