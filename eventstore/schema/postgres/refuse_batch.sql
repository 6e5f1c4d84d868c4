-- Ends a batch's transaction: it was sent again since, or a head is not that of its events.
CREATE FUNCTION __schema__.refuse_batch(
    p_is_superseded boolean, p_position bigint, p_last_position bigint,
    p_streams text[], p_versions bigint[], p_last_versions bigint[]
) RETURNS void
LANGUAGE plpgsql
AS $body$
BEGIN
    IF p_is_superseded THEN
        RAISE EXCEPTION USING ERRCODE = 'ES002', MESSAGE = 'this batch was sent again since';
    END IF;
    FOR s IN 1 .. cardinality(p_streams) LOOP
        IF p_last_versions[s] <> p_versions[s] THEN
            PERFORM __schema__.refuse_damage('head', NULL, p_streams[s], p_versions[s],
                'stream ' || quote_literal(p_streams[s]) || ': its head says version '
                || p_versions[s]::text || ', its events ' || p_last_versions[s]::text);
        END IF;
    END LOOP;
    PERFORM __schema__.refuse_damage('head', p_position, NULL, NULL,
        'the head says position ' || p_position::text
        || ', and the log''s last event is another one');
END
$body$
