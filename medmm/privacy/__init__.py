"""Cases without identities: headers, burned-in text, notes and tables, each verified after it is written."""
