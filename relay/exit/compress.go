package exit

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

var gzipMagic = []byte{0x1f, 0x8b} // RFC 1952 section 2.3.1

// A codec holds what is dear to make: gzip readers, and one zstd coder each way,
// whose EncodeAll and DecodeAll are safe for concurrent use, and which have
// nothing to close when there is no stream.
type codec struct {
	gzips sync.Pool // of *gzip.Reader
	enc   *zstd.Encoder
	dec   *zstd.Decoder
}

func (c *codec) init() (err error) {
	c.dec, err = zstd.NewReader(nil, zstd.WithDecoderMaxMemory(maxPlain), zstd.WithDecoderMaxWindow(8<<20),
		zstd.WithDecoderConcurrency(0), zstd.WithDecoderLowmem(true))
	if err != nil {
		return err
	}
	c.enc, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithLowerEncoderMem(true))
	return err
}

// gunzip appends what src decompresses to, at most maxPlain bytes.
func (c *codec) gunzip(to *request, src []byte) error {
	z, _ := c.gzips.Get().(*gzip.Reader)
	if z == nil {
		z = new(gzip.Reader)
	}
	defer c.gzips.Put(z)
	if err := z.Reset(bytes.NewReader(src)); err != nil {
		return errBody
	}
	return to.fill(z, maxPlain)
}

// unpack returns the text that a "zops" stands for, at most maxPlain bytes.
func (c *codec) unpack(text []byte) ([]byte, error) {
	packed := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Decode(packed, text)
	if err != nil {
		return nil, errBody
	}
	plain, err := c.dec.DecodeAll(packed[:n], nil)
	switch {
	case errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, zstd.ErrWindowSizeExceeded):
		return nil, errTooLarge
	case err != nil:
		return nil, fmt.Errorf("%w: zops: %w", errBody, err)
	}
	return plain, nil
}

// appendPacked appends the base64 of the zstd of text.
func (c *codec) appendPacked(dst, text []byte) []byte {
	return base64.StdEncoding.AppendEncode(dst, c.enc.EncodeAll(text, nil))
}
