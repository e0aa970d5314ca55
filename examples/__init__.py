"""The bundled pictures, and what makes them."""
