-- webhook.signature_scheme: how a request is signed and which headers carry it. Schemes are rows: INSERT adds one.
CREATE TABLE webhook.signature_scheme (
  name text PRIMARY KEY,
  algorithm text NOT NULL DEFAULT 'hmac-sha256',
  key_encoding text NOT NULL DEFAULT 'whsec',
  content text NOT NULL,
  digest_encoding text NOT NULL DEFAULT 'hex',
  signature text NOT NULL DEFAULT '{digest}',
  separator text NOT NULL DEFAULT ' ',
  headers jsonb NOT NULL,
  description text,
  builtin boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE webhook.signature_scheme IS 'How requests are signed: signed content, encodings and header templates';
COMMENT ON COLUMN webhook.signature_scheme.algorithm IS 'hmac-sha256, or ed25519: receivers verify with a public key';
COMMENT ON COLUMN webhook.signature_scheme.content IS 'template of what is signed, e.g. {id}.{timestamp}.{body}';
COMMENT ON COLUMN webhook.signature_scheme.key_encoding IS 'how a secret becomes a key: raw, base64 or whsec; whsk for ed25519';
COMMENT ON COLUMN webhook.signature_scheme.digest_encoding IS 'how a signature is written: hex or base64';
COMMENT ON COLUMN webhook.signature_scheme.signature IS 'template of one signature, e.g. v1,{digest}';
COMMENT ON COLUMN webhook.signature_scheme.separator IS 'what stands between signatures while several secrets are live; empty: receivers take one signature, made with the newest secret';
COMMENT ON COLUMN webhook.signature_scheme.headers IS 'header name → template, e.g. {"webhook-signature": "{signatures}"}. Placeholders: {signatures}, {id}, {attempt_id}, {timestamp}, {timestamp_ms}, {type}, {type_first}: its first segment, {tenant}, {body_sha256_hex}, {body_sha256_base64}; content has {body} as well, signature {digest}';

-- What is wrong with a row is said here. A builtin row is the extension's: an upgrade script that adds one disables
-- this trigger for the time being.
CREATE FUNCTION webhook.check_scheme() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  missing text;
  problem text;
BEGIN
  IF webhook.in_copy() THEN
    RETURN NEW;
  END IF;
  IF TG_OP <> 'INSERT' AND OLD.builtin THEN
    RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = format('signature scheme "%s" comes with pg_webhook and stays as it is', OLD.name),
      HINT = 'INSERT a scheme of your own under another name.';
  END IF;
  IF TG_OP = 'DELETE' THEN
    RETURN OLD;
  END IF;
  SELECT c.key INTO missing FROM jsonb_each(to_jsonb(NEW)) c WHERE c.value = 'null' AND c.key <> 'description';
  IF missing IS NOT NULL THEN
    PERFORM webhook.refuse('signature_scheme.' || missing, NULL, 'it must have a value', 'Leave the column out to get its default.');
  END IF;
  IF octet_length(NEW.name) NOT BETWEEN 1 AND 63 THEN
    PERFORM webhook.refuse('signature_scheme.name', NEW.name, 'it has 1 to 63 bytes');
  END IF;
  IF NEW.builtin THEN
    PERFORM webhook.refuse('signature_scheme.builtin', 'true', 'only schemes that come with pg_webhook are', 'Leave the column out.');
  END IF;
  problem := webhook.scheme_problem(NEW.name, NEW.algorithm, NEW.key_encoding, NEW.content, NEW.digest_encoding, NEW.signature,
    NEW.separator, NEW.headers);
  IF problem IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('signature scheme "%s" is not valid: %s', NEW.name, problem),
      HINT = 'See the comments on the columns of webhook.signature_scheme.';
  END IF;
  RETURN NEW;
END
$$;

-- What endpoints sign with stays; what it looks like may change, and signatures made before are not sent.
CREATE FUNCTION webhook.scheme_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  user_id int;
BEGIN
  IF TG_OP = 'DELETE' OR NEW.name <> OLD.name OR NEW.key_encoding <> OLD.key_encoding THEN
    SELECT e.id INTO user_id FROM webhook.endpoint e WHERE e.scheme = OLD.name ORDER BY e.id LIMIT 1;
    IF FOUND THEN
      RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('signature scheme "%s" is used by endpoint %s', OLD.name, user_id),
        HINT = 'Its name and key_encoding stay as long as an endpoint uses it. UPDATE webhook.endpoint SET scheme = … first.';
    END IF;
  ELSE
    UPDATE webhook.endpoint e SET generation = nextval('webhook.generation') WHERE e.scheme = NEW.name;
  END IF;
  RETURN NULL;
END
$$;

-- Standard Webhooks 1.0.0, symmetric (v1) and asymmetric (v1a), and what receivers of other services know how to verify.
INSERT INTO webhook.signature_scheme
  (name, algorithm, key_encoding, content, digest_encoding, signature, separator, headers, description, builtin)
VALUES
  ('standard', 'hmac-sha256', 'whsec', '{id}.{timestamp}.{body}', 'base64', 'v1,{digest}', ' ',
    '{"webhook-id": "{id}", "webhook-timestamp": "{timestamp}", "webhook-signature": "{signatures}"}',
    'Standard Webhooks 1.0.0, HMAC-SHA256 (v1)', true),
  ('standard-ed25519', 'ed25519', 'whsk', '{id}.{timestamp}.{body}', 'base64', 'v1a,{digest}', ' ',
    '{"webhook-id": "{id}", "webhook-timestamp": "{timestamp}", "webhook-signature": "{signatures}"}',
    'Standard Webhooks 1.0.0, Ed25519 (v1a): receivers verify with the public key', true),
  ('github', 'hmac-sha256', 'raw', '{body}', 'hex', 'sha256={digest}', '',
    '{"X-Hub-Signature-256": "{signatures}", "X-GitHub-Event": "{type}", "X-GitHub-Delivery": "{id}"}',
    'As GitHub signs', true),
  ('stripe', 'hmac-sha256', 'raw', '{timestamp}.{body}', 'hex', 'v1={digest}', ',',
    '{"Stripe-Signature": "t={timestamp},{signatures}"}', 'As Stripe signs', true),
  ('shopify', 'hmac-sha256', 'raw', '{body}', 'base64', '{digest}', '',
    '{"X-Shopify-Hmac-Sha256": "{signatures}", "X-Shopify-Topic": "{type}", "X-Shopify-Webhook-Id": "{id}"}',
    'As Shopify signs', true),
  ('slack', 'hmac-sha256', 'raw', 'v0:{timestamp}:{body}', 'hex', 'v0={digest}', '',
    '{"X-Slack-Signature": "{signatures}", "X-Slack-Request-Timestamp": "{timestamp}"}', 'As Slack signs', true);

CREATE TRIGGER check_scheme BEFORE INSERT OR UPDATE OR DELETE ON webhook.signature_scheme
  FOR EACH ROW EXECUTE FUNCTION webhook.check_scheme();
CREATE TRIGGER scheme_changed AFTER UPDATE OR DELETE ON webhook.signature_scheme
  FOR EACH ROW EXECUTE FUNCTION webhook.scheme_changed();
