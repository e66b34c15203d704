"""The clinician's screen: draws what the store holds and writes down what the reader decides."""
