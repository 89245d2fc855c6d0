package wire

import (
	"strconv"
	"unicode/utf8"
)

// AppendBatch appends a batch request. A script wants its "t", a node gets
// none. The ops' payload is borrowed.
func AppendBatch(dst []byte, key string, script bool, ops []Op) []byte {
	dst = AppendBatchHead(dst, key, script)
	for i := range ops {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendOp(dst, &ops[i])
	}
	return append(dst, batchTail...)
}

const batchTail = "]}"

// AppendBatchHead appends what stands before the first op of a batch.
func AppendBatchHead(dst []byte, key string, script bool) []byte {
	dst = append(dst, `{"k":`...)
	dst = appendString(dst, key)
	if script {
		dst = append(dst, `,"t":"batch"`...)
	}
	return append(dst, `,"ops":[`...)
}

// AppendOp appends one op. Empty Data is left out, which makes a data op a
// poll, except for connect_data, whose "d" is always there.
func AppendOp(dst []byte, o *Op) []byte {
	dst = append(dst, `{"op":"`...)
	dst = append(dst, kindName[o.Kind]...)
	dst = append(dst, '"')
	switch o.Kind {
	case Connect, ConnectData, UDPOpen:
		dst = append(dst, `,"host":`...)
		dst = appendString(dst, o.Host)
		dst = appendUint(dst, `,"port":`, uint64(o.Port))
	case Link: // of no session
	default:
		dst = append(dst, `,"sid":`...)
		dst = appendString(dst, o.SID)
	}
	if o.Len() > 0 || o.Kind == ConnectData {
		dst = append(dst, `,"d":"`...)
		dst = appendBase64(dst, o.Data)
		dst = append(dst, '"')
	}
	if o.HasSeq {
		dst = appendUint(dst, `,"seq":`, o.Seq)
	}
	if o.HasWSeq {
		dst = appendUint(dst, `,"wseq":`, o.WSeq)
	}
	if o.Empty {
		dst = append(dst, `,"empty":true`...)
	}
	if o.Fin {
		dst = append(dst, `,"fin":true`...)
	}
	if o.Rst {
		dst = append(dst, `,"rst":true`...)
	}
	if o.Max > 0 {
		dst = appendUint(dst, `,"max":`, o.Max)
	}
	if o.RTT > 0 {
		dst = appendUint(dst, `,"rtt":`, o.RTT)
	}
	return append(dst, '}')
}

// OpFrame is the most that an op takes in a batch beside its host, its sid and
// its payload: every field present, numbers of 20 digits, the comma before it.
const OpFrame = len(`,{"op":"connect_data","host":"","port":65535,"d":"","seq":,"wseq":,"empty":true,"fin":true,"rst":true,"max":,"rtt":}`) + 4*20

// OpLen is the most that o takes in a batch. Payload, which is what matters,
// counts exactly; nothing is encoded to know it.
func OpLen(o *Op) int { return OpFrame + len(o.Host) + len(o.SID) + Base64Len(o.Len()) }

// BatchLen is what a batch takes beside its ops. A key that must be escaped
// can take six times its length.
func BatchLen(key string) int { return len(`{"k":"","t":"batch","ops":[]}`) + 6*len(key) }

// AppendAnswer appends the answer to a batch. The results' payload is borrowed.
func AppendAnswer(dst []byte, results []Result) []byte {
	dst = append(dst, `{"r":`...)
	dst = AppendResults(dst, results)
	return append(dst, '}')
}

// AppendResults appends the array that stands under "r".
func AppendResults(dst []byte, results []Result) []byte {
	dst = append(dst, '[')
	for i := range results {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendResult(dst, &results[i])
	}
	return append(dst, ']')
}

// AppendResult appends one RESULT. A RESULT of an op that was not understood
// has no sid, and then neither "sid" nor "eof" is written.
func AppendResult(dst []byte, r *Result) []byte {
	start := len(dst)
	if len(r.SID) > 0 {
		dst = append(dst, `,"sid":`...)
		dst = appendString(dst, r.SID)
	}
	if r.Len() > 0 {
		dst = append(dst, `,"d":"`...)
		dst = appendBase64(dst, r.Data)
		dst = append(dst, '"')
	}
	if len(r.Pkts) > 0 {
		dst = appendPkts(dst, r.Pkts)
	}
	if len(r.SID) > 0 || r.EOF {
		dst = append(dst, `,"eof":`...)
		dst = strconv.AppendBool(dst, r.EOF)
	}
	if len(r.Err) > 0 {
		dst = append(dst, `,"e":`...)
		dst = appendString(dst, r.Err)
	}
	if len(r.Code) > 0 {
		dst = append(dst, `,"code":`...)
		dst = appendString(dst, r.Code)
	}
	if r.HasSeq {
		dst = appendUint(dst, `,"seq":`, r.Seq)
	}
	if r.HasOff {
		dst = appendUint(dst, `,"off":`, r.Off)
	}
	if r.Rst {
		dst = append(dst, `,"rst":true`...)
	}
	if r.Pend {
		dst = append(dst, `,"pend":true`...)
	}
	if r.Jam > 0 {
		dst = appendUint(dst, `,"jam":`, r.Jam)
	}
	if r.More > 0 {
		dst = appendUint(dst, `,"more":`, r.More)
	}
	if len(r.IP) > 0 {
		dst = append(dst, `,"ip":`...)
		dst = appendString(dst, r.IP)
	}
	if len(dst) == start {
		return append(dst, '{', '}')
	}
	dst[start] = '{' // in place of the first field's comma
	return append(dst, '}')
}

// ResultLen is the most that r takes in an answer.
func ResultLen(r *Result) int {
	n := resultFrame + len(r.SID) + 6*(len(r.Err)+len(r.Code)+len(r.IP)) + Base64Len(r.Len())
	for _, p := range r.Pkts {
		n += len(`"",`) + Base64Len(len(p))
	}
	return n
}

const resultFrame = len(`,{"sid":"","d":"","pkts":[],"eof":false,"e":"","code":"","seq":,"off":,"rst":true,"pend":true,"more":,"jam":,"ip":""}`) + 4*20

func appendPkts(dst []byte, pkts [][]byte) []byte {
	dst = append(dst, `,"pkts":[`...)
	for i := range pkts {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '"')
		dst = appendBase64(dst, pkts[i:i+1])
		dst = append(dst, '"')
	}
	return append(dst, ']')
}

// AppendError appends the answer that fails a whole request.
func AppendError(dst []byte, text string) []byte {
	dst = append(dst, `{"e":`...)
	dst = appendString(dst, text)
	return append(dst, '}')
}

func appendUint(dst []byte, field string, n uint64) []byte {
	dst = append(dst, field...)
	return strconv.AppendUint(dst, n, 10)
}

// appendString appends s as a JSON string (RFC 8259 section 7). Invalid UTF-8
// becomes U+FFFD, so that no error text can make an answer unreadable.
func appendString[S string | []byte](dst []byte, s S) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < ' ' || c == 0x7f:
			dst = append(dst, '\\', 'u', '0', '0', hexDigit[c>>4], hexDigit[c&15])
		case c < utf8.RuneSelf:
			dst = append(dst, c)
		default:
			r, n := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
			dst = utf8.AppendRune(dst, r)
			i += n
			continue
		}
		i++
	}
	return append(dst, '"')
}

const hexDigit = "0123456789abcdef"
