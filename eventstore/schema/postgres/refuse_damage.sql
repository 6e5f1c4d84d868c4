-- Ends the transaction: what is stored is not what was written. DETAIL is JSON for the client.
CREATE FUNCTION __schema__.refuse_damage(
    p_kind text, p_position bigint, p_stream text, p_version bigint, p_message text
) RETURNS void
LANGUAGE plpgsql
AS $body$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'ES001', MESSAGE = p_message,
        DETAIL = json_build_array(p_kind, p_position, p_stream, p_version)::text;
END
$body$
