-- What a key was first used for. status: NULL where it is new, 1 the same content, 4 another.
-- detail: JSON [recorded_at, [streams], [[first version, first position, events], ...]].
CREATE FUNCTION __schema__.judge_key(
    p_tenant_id bigint, p_stream_id bigint, p_stream text, p_key text, p_content_hash bytea,
    OUT status int, OUT detail text
)
LANGUAGE plpgsql STABLE
AS $body$
DECLARE
    stands record;
    first record;
BEGIN
    SELECT k.content_hash, k.first_position, k.event_count, k.call INTO stands
      FROM __schema__.idempotency_keys k
     WHERE k.tenant_id = p_tenant_id AND k.stream_id = p_stream_id AND k.key = p_key;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT e.version, e.recorded_at INTO first FROM __schema__.events e
     WHERE e.tenant_id = p_tenant_id AND e.position = stands.first_position;
    IF NOT FOUND THEN
        PERFORM __schema__.refuse_damage('gap', stands.first_position, NULL, NULL,
            'position ' || stands.first_position::text
            || ': a key stands for an event that is missing');
    END IF;
    status := CASE WHEN stands.content_hash = p_content_hash THEN 1 ELSE 4 END;
    detail := CASE WHEN stands.call IS NULL
        THEN json_build_array(first.recorded_at, json_build_array(p_stream), json_build_array(
            json_build_array(first.version, stands.first_position, stands.event_count)))::text
        ELSE '[' || first.recorded_at::text || ',' || substr(stands.call, 2) END;
END
$body$
