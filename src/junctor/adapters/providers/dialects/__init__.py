"""One module per wire API that providers share: encode a request, decode an answer. Dialects do not know each other."""
