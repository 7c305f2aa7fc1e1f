-- What a team writes itself: an outbox table with an index on what is still to be sent, and a row trigger that fills it.
CREATE TABLE outbox (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  type text NOT NULL,
  payload jsonb NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  sent_at timestamptz
);
CREATE INDEX ON outbox (id) WHERE sent_at IS NULL;

CREATE FUNCTION to_outbox() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO outbox (type, payload) VALUES (TG_TABLE_NAME || '.' || lower(TG_OP), to_jsonb(NEW));
  RETURN NULL;
END
$$;
CREATE TRIGGER to_outbox AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION to_outbox();
